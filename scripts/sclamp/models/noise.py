"""Gaussian noise that is a function of (seed, step) alone.

Nothing has to be saved to resume a training, and several processes that share one batch draw what a single
process would have drawn for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Noise:
    """Standard-normal draws for one step.

    seed, step: name the draws. start, total: this process holds rows start, start+1, ... of a batch of `total` cells.
    """

    def __init__(self, seed: int, step: int, start: int, total: int, device: torch.device | str = "cpu") -> None:
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
        self._start, self._total = start, total

    def for_cells(self, like: Tensor) -> Tensor:
        """Draw for a (cells, k) tensor: the rows of this process out of the whole batch."""
        whole = torch.randn(self._total, like.shape[1], generator=self._generator, device=like.device)
        return whole[self._start : self._start + len(like)].to(like.dtype)

    def for_genes(self, like: Tensor) -> Tensor:
        """Draw for a (genes, k) tensor: the same on every process."""
        return torch.randn(like.shape, generator=self._generator, device=like.device).to(like.dtype)
