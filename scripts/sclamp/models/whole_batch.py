"""Layers over cells that see the whole batch, on however many processes it lies.

Whoever trains says which part of the batch is at hand (`part_of_batch`); layers over cells ask for it. Layers over
genes need none of this: every process has all genes, and draws the same for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sclamp.types import Gather


@dataclass(frozen=True)
class Part:
    """The cells at hand: `own` of a batch of `total`, from `start` on. gather: see `Batch`."""

    start: int
    own: int
    total: int
    gather: Gather | None = None


_at_hand: list[Part] = []


@contextmanager
def part_of_batch(start: int, own: int, total: int, gather: Gather | None = None) -> Iterator[None]:
    """Tell the layers which part of a batch they are given; see `Part`."""
    _at_hand.append(Part(start, own, total, gather))
    try:
        yield
    finally:
        _at_hand.pop()


def gather_at_hand() -> Gather | None:
    """What brings together the cells of all processes; None where this one has the whole batch."""
    return _at_hand[-1].gather if _at_hand else None


class Dropout(nn.Dropout):
    """Dropout over cells (n, k): the mask of the whole batch is drawn, and this part's rows of it are used."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, k) -> (n, k)."""
        part = _at_hand[-1] if _at_hand else None
        if part is None or not self.training or self.p == 0:
            return super().forward(x)
        assert len(x) == part.own, "one row for each cell"
        keep = 1 - self.p
        whole = x.new_empty(part.total, x.shape[1]).bernoulli_(keep)
        return x * whole[part.start : part.start + part.own].div_(keep)


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm over cells (n, k), by mean and variance of the batch on all processes together, with their gradients.

    Given several rows for each cell, it sees all of them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(n, k) -> (n, k)."""
        gather = gather_at_hand()
        if gather is None or not self.training:
            return super().forward(x)
        precise = x.to(torch.promote_types(x.dtype, torch.float32))  # wider than autocast has it
        return self._of_whole_batch(precise, gather).to(x.dtype)

    def _of_whole_batch(self, x: Tensor, gather: Gather) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=0, keepdim=True)
        size, mean, variance = whole_moments(x.new_full((1, 1), len(x)), mean, variance, gather)
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            unbiased = variance * size / (size - 1)
            self.running_mean.lerp_(mean[0].to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased[0].to(self.running_var.dtype), self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def whole_moments(
    sizes: Tensor, means: Tensor, variances: Tensor, gather: Gather | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes (g, 1), means and variances (g, k) of groups of cells on all processes, from those on this one.

    Variances are divided by sizes; a group without cells has zeros. One exchange, in float64, where sums of squares
    lose nothing that float32 could show.
    """
    if gather is None:
        return sizes, means, variances
    n, mean, variance = sizes.double(), means.double(), variances.double()
    sums = gather.sum(torch.cat([n, n * mean, n * (variance + mean.square())], 1))
    n, totals, squares = sums.split([1, means.shape[1], means.shape[1]], 1)
    mean = totals / n.clamp_min(1)
    variance = (squares / n.clamp_min(1) - mean.square()).clamp_min(0)
    return n.to(sizes.dtype), mean.to(means.dtype), variance.to(variances.dtype)
