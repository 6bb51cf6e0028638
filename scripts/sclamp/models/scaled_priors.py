"""Gene priors brought to one scale by the model's own genes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sclamp.models.base import GradientModel, prior_buffer
from sclamp.types import DataSpec


class ScaledPriors(GradientModel):
    """A model that reads each gene prior centred, and divided by one number that gives all its values unit variance.

    Columns keep their proportions. The mean of each column and that number are of the model's genes, and are stored.
    """

    @property
    def scales_priors(self) -> bool:
        """False for a model that reads its gene priors as they are."""
        return True

    def __init__(self, settings: Any, data: DataSpec) -> None:
        super().__init__(settings, data)
        for name, width in data.gene_priors.items():  # no gene prior's name starts with "_"
            self.register_buffer(prior_buffer(name, "_center_"), torch.zeros(width))
            self.register_buffer(prior_buffer(name, "_scale_"), torch.ones(()))

    def load_gene_priors(self, priors: Mapping[str, Tensor]) -> None:
        """See `Model`; the priors are kept as the model reads them."""
        for name in self.data.gene_priors if self.scales_priors else ():
            center, scale = self._scaling(name)
            center.copy_(priors[name].mean(0))
            scale.copy_((priors[name] - center).square().mean().sqrt().clamp_min(1e-12))
        super().load_gene_priors({name: self.scale_gene_prior(name, priors[name]) for name in self.data.gene_priors})

    def scale_gene_prior(self, name: str, vectors: Tensor) -> Tensor:
        """See `Model`."""
        center, scale = self._scaling(name)
        return (vectors - center) / scale

    def scaled_priors(self, vectors: Mapping[str, Tensor] | None = None) -> Tensor:
        """Gene priors side by side, (genes, all widths): of the model's genes, or of any as they come from files."""
        names = self.data.gene_priors
        if vectors is None:
            return torch.cat([self.gene_prior(name) for name in names], 1)
        return torch.cat([self.scale_gene_prior(name, vectors[name]) for name in names], 1)

    def _scaling(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(prior_buffer(name, "_center_")), self.get_buffer(prior_buffer(name, "_scale_"))
