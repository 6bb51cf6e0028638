"""Random views of cells: thinned counts, noise on log expression, genes set to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Draws(Protocol):
    """Where random numbers come from: see `sclamp.models.noise`."""

    def for_cells(self, like: Tensor) -> Tensor:
        """Standard-normal, (cells, k)."""

    def uniform_for_cells(self, like: Tensor) -> Tensor:
        """Uniform in [0, 1), (cells, k)."""

    def binomial_for_cells(self, counts: Tensor, share: Tensor) -> Tensor:
        """Binomial, (cells, k)."""


@dataclass(frozen=True)
class Range:
    """How strong an augmentation is.

    low, high: bounds of its parameter, drawn uniformly for each cell, or for each entry. probability: that a cell gets
    it at all.
    """

    low: float
    high: float
    probability: float
    per_entry: bool = False

    @property
    def applies(self) -> bool:
        """Whether any cell ever gets it."""
        return self.probability > 0

    def draw(self, like: Tensor, draws: Draws, absent: float) -> Tensor:
        """The parameter of each cell (cells, 1) or entry (cells, k) of `like`; `absent` for cells without."""
        one = like[:, :1]
        value = self.low + (self.high - self.low) * draws.uniform_for_cells(like if self.per_entry else one)
        return torch.where(draws.uniform_for_cells(one) < self.probability, value, absent)


def thinned(counts: Tensor, library_size: Tensor, share: Range, draws: Draws) -> tuple[Tensor, Tensor]:
    """Counts (cells, genes) of which each one is kept with some probability, and the library size (cells,) then.

    The library also holds counts of genes that are not here; it shrinks as those that are.
    """
    if not share.applies:
        return counts, library_size
    kept = draws.binomial_for_cells(counts, share.draw(counts, draws, absent=1.0))
    before = counts.sum(1)
    left = torch.where(before > 0, kept.sum(1) / before.clamp_min(1), 1.0)
    return kept, library_size * left


def noisy(x: Tensor, deviation: Range, draws: Draws) -> Tensor:
    """Log expression (cells, genes) plus Gaussian noise; may become negative."""
    if not deviation.applies:
        return x
    return x + deviation.draw(x, draws, absent=0.0) * draws.for_cells(x)


def dropped(x: Tensor, rate: Range, draws: Draws) -> Tensor:
    """Expression (cells, genes) of which each value becomes zero with some probability."""
    if not rate.applies:
        return x
    return x * (draws.uniform_for_cells(x) >= rate.draw(x, draws, absent=0.0))
