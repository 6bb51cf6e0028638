"""What pulls the latents of different batches together: an adversary, or the distance between their distributions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from sclamp.types import Gather

KERNELS = (0.25, 0.5, 1.0, 2.0)
"""Widths of the discrepancy's kernels, in units of the distance that two draws from N(0, 1) have on average."""


class _Reverse(torch.autograd.Function):
    """The identity whose gradient is reversed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Adversary(nn.Module):
    """Reads the batch off latents while the latents' gradient hides it (Ganin et al., JMLR 2016)."""

    def __init__(self, latent: int, n_batches: int, width: int = 64) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, n_batches))

    def forward(self, z: Tensor, batch: Tensor, gather: Gather | None = None) -> Tensor:
        """Cross-entropy per cell in nats; cells of no known batch (-1) do not count. z (n, latent), batch (n,).

        gather: see `Batch`; then the mean over processes, weighted by their cells, is that of all known cells.
        """
        known = (batch >= 0).to(z.dtype)
        each = cross_entropy(self.classifier(_Reverse.apply(z)), batch.clamp_min(0), reduction="none")
        n_known = known.sum() if gather is None else gather.sum(known.sum()) * (gather.own / gather.total)
        return (each * known).sum() / torch.where(n_known > 0, n_known, 1.0)


def discrepancy(z: Tensor, batch: Tensor, n_batches: int, gather: Gather | None = None) -> Tensor:
    """Squared maximum mean discrepancy of latents, mean over pairs of batches (Gretton et al., JMLR 2012).

    z (n, latent), batch (n,) with -1 for none. The kernel is a sum of Gaussians; a batch without cells makes no pair.
    gather: see `Batch`; it is the discrepancy of all processes' cells.
    """
    if gather is not None:
        z, codes = gather(z), gather(batch.unsqueeze(1).double())
        batch = codes.squeeze(1).long()
    member = one_hot(batch.clamp_min(0), n_batches).to(z.dtype) * (batch >= 0).unsqueeze(1)
    sizes = member.sum(0)
    squares = (z.unsqueeze(0) - z.unsqueeze(1)).square().sum(-1)
    kernel = torch.stack([torch.exp(-squares / (2 * z.shape[1] * width)) for width in KERNELS]).sum(0)
    shares = member / sizes.clamp_min(1)
    within = shares.T @ kernel @ shares  # (batches, batches) mean kernel between cells of both
    own = within.diagonal()
    pairs = own.unsqueeze(0) + own.unsqueeze(1) - 2 * within
    present = (sizes > 0).to(z.dtype)
    weight = (present.unsqueeze(0) * present.unsqueeze(1)).triu(1)
    return (pairs * weight).sum() / weight.sum().clamp_min(1)
