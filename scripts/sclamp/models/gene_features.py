"""Functions of gene priors: features on which weights of genes depend linearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sclamp.models.noise import mixed_seed


class KernelFeatures(nn.Module):
    """Random Fourier features (Rahimi & Recht, NeurIPS 2007) of the directions of gene priors, each row of length ~1.

    Their inner product is about exp(-(1 - cosine) / kernel_width) for one prior: a linear map of them with independent
    Gaussian weights is a Gaussian process over genes with that kernel. together: the kernels of all priors are
    multiplied into one; else each prior has features of its own, side by side. The frequencies are the same in every
    run: a function of names and widths of the priors.
    """

    def __init__(self, widths: Mapping[str, int], n_features: int, kernel_width: float, together: bool) -> None:
        super().__init__()
        self.together = together
        self.each = [(f"{place}_", *sizes) for place, sizes in enumerate(_blocks(widths, together))]
        for prefix, names, width in self.each:
            # The one generator of numpy whose stream is promised never to change: checkpoints do not hold the numbers.
            rng = np.random.RandomState(mixed_seed("features", *names, width, n_features) % 2**32)
            drawn = {
                "frequencies": rng.standard_normal((width, n_features)) * kernel_width**-0.5,
                "phases": rng.uniform(0, 2 * np.pi, n_features),
            }
            for name, values in drawn.items():
                self.register_buffer(prefix + name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    def forward(self, priors: Sequence[Tensor]) -> Tensor:
        """(genes, width) of each prior -> (genes, all features)."""
        directions = [normalize(prior, dim=1) for prior in priors]
        parts = [torch.cat(directions, 1)] if self.together else directions
        return torch.cat([self._of(*each) for each in zip(parts, self.each, strict=True)], 1)

    def _of(self, x: Tensor, which: tuple[str, tuple[str, ...], int]) -> Tensor:
        frequencies, phases = (self.get_buffer(f"{which[0]}{name}") for name in ("frequencies", "phases"))
        return torch.cos(x @ frequencies + phases) * (2 / len(phases)) ** 0.5


def _blocks(widths: Mapping[str, int], together: bool) -> list[tuple[tuple[str, ...], int]]:
    """Names and width of what each block of features reads."""
    if together:
        return [(tuple(widths), sum(widths.values()))]
    return [((name,), width) for name, width in widths.items()]


class LinearFeatures(nn.Module):
    """The directions of gene priors themselves: the features of a linear map."""

    def forward(self, priors: Sequence[Tensor]) -> Tensor:
        """(genes, width) of each prior -> (genes, all widths)."""
        return torch.cat([normalize(prior, dim=1) for prior in priors], 1)


class Remembered:
    """A function of tensors that change rarely, computed anew only after one of them did."""

    def __init__(self) -> None:
        self._state: tuple[tuple[int, int, torch.device], ...] = ()
        self._sources: tuple[Tensor, ...] = ()
        self._result: Tensor | None = None

    def get(self, function: nn.Module, sources: Sequence[Tensor]) -> Tensor:
        """function(sources), without gradients."""
        state = tuple((id(t), t._version, t.device) for t in sources)
        if self._result is None or state != self._state:
            with torch.no_grad():
                self._result = function(sources)
            self._state, self._sources = state, tuple(sources)  # kept alive, so that an id stays theirs
        return self._result
