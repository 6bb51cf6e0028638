"""Kernels of gene priors: how alike two genes are by what is known of them beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sclamp.config.gene_nb import GeneNBSettings


def in_float32(tensors: Sequence[Tensor]) -> AbstractContextManager[object]:
    """Matrix products of these tensors in their own precision, where the training has them in bfloat16."""
    return torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False)


class GeneKernels(nn.Module):
    """Kernel matrices of gene priors, of value 1 for a gene and itself; they read the priors' directions alone.

    smooth: exp(-(1 - cosine) / width), a Gaussian kernel on the unit sphere; linear: the cosine. With fusion `sum` each
    prior has a kernel; with `product` theirs are multiplied into one, and genes are alike that are alike in all.
    """

    def __init__(self, settings: GeneNBSettings, n_priors: int) -> None:
        super().__init__()
        self.width = settings.kernel_width if settings.kernel == "smooth" else None
        self.together = settings.fusion == "product"
        self.count = min(n_priors, 1) if self.together else n_priors

    def forward(self, left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
        """Genes by (n, width) and (m, width) of each prior -> (n, m) of each kernel."""
        cosines = [normalize(a, dim=1) @ normalize(b, dim=1).T for a, b in zip(left, right, strict=True)]
        each = cosines if self.width is None else [torch.exp((cosine - 1) / self.width) for cosine in cosines]
        return [torch.stack(each).prod(0)] if self.together and each else each


class Remembered:
    """What follows from tensors that change rarely, computed anew only after one of them did."""

    def __init__(self) -> None:
        self._state: tuple[tuple[int, int, torch.device], ...] | None = None
        self._sources: tuple[Tensor, ...] = ()
        self._result: list[Tensor] = []

    def get(self, function: nn.Module, sources: Mapping[str, Tensor]) -> list[Tensor]:
        """function(sources, sources), without gradients."""
        tensors = tuple(sources.values())
        state = tuple((id(t), t._version, t.device) for t in tensors)
        if state != self._state:
            with torch.no_grad(), in_float32(tensors):
                self._result = function(tensors, tensors)
            self._state, self._sources = state, tensors  # kept alive, so that an id stays theirs
        return self._result
