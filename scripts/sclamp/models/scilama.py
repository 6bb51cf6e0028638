"""sciLaMA: a VAE of cells and a VAE of genes whose decoders' product is the expression (Hu et al., ICML 2025).

A cell's latent decodes to factors (cells, h), a gene's latent to loadings (genes, h); expression is factors x loadings
plus an offset per gene. `beta_vae` has free loadings and no gene side; the joint modes read loadings off gene priors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from sclamp.config.scilama import BetaVAESettings, JointSettings
from sclamp.models.losses import squared_error
from sclamp.models.posterior import Draw, Posterior
from sclamp.models.scaled_priors import ScaledPriors
from sclamp.models.schedules import LinearWarmup
from sclamp.models.scilama_sides import CellSide, GeneSide
from sclamp.types import Batch, DataSpec, Progress, Want


class _SciLaMA(ScaledPriors):
    """What all modes have: the cell side and the schedule of the KL weight."""

    settings: BetaVAESettings

    def __init__(self, settings: BetaVAESettings, data: DataSpec) -> None:
        super().__init__(settings, data)
        self.cells = CellSide(settings, data.n_genes, data.covariates.width)
        self.schedule = LinearWarmup(
            settings.beta_start, settings.beta_end, settings.epochs_before_beta_warmup, settings.beta_warmup_rate
        )

    def wants(self) -> frozenset[Want]:
        """See `Model`."""
        return frozenset({self.settings.input})

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        encoder = {"cells.encoder.hidden.0.0.weight": 1, "cells.encoder.skip.weight": 1}
        axes = encoder | {"cells.bias": 0, "cells.effects": 1, "loadings": 0, "residual": 0}
        own = self.state_dict()
        return {name: axis for name, axis in axes.items() if name in own}

    def embed_cells(self, batch: Batch) -> Tensor:
        """Posterior mean, (cells, latent)."""
        return self.cells.posterior(self._x(batch), batch.covariates).mean

    def first_checkpoint_epoch(self) -> int:
        """First epoch that trains the final objective."""
        return self.schedule.first_full_epoch()

    def _x(self, batch: Batch) -> Tensor:
        x = batch.scaled if self.settings.input == "scaled" else batch.lognorm
        assert x is not None, "the batch holds what `wants` names"
        return x

    def _beta(self, progress: Progress) -> float:
        return self.settings.beta_end if progress.validation else self.schedule.at(progress.epoch)


class BetaVAE(_SciLaMA):
    """The cell VAE alone, with free loadings (mode `beta_vae`)."""

    def __init__(self, settings: BetaVAESettings, data: DataSpec) -> None:
        super().__init__(settings, data)
        self.loadings = nn.Parameter(torch.empty(data.n_genes, settings.hidden_dims[0]))
        nn.init.xavier_normal_(self.loadings)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Negative ELBO per cell, with unit-weight squared error and the KL divergence weighted by beta."""
        q = self.cells.posterior(self._x(batch), batch.covariates)
        z = q.sample(batch.noise.for_cells if batch.noise else None)
        reconstruction = squared_error(self._decode(z, batch.covariates), self._x(batch), batch.measured).mean()
        kl, beta = q.kl().mean(), self._beta(progress)
        return {
            "loss": reconstruction + beta * kl,
            "reconstruction": reconstruction,
            "kl_cells": kl,
            "beta": reconstruction.new_full((), beta),
        }

    def reconstruct(self, batch: Batch) -> Tensor:
        """Expression decoded from the posterior mean, (cells, genes)."""
        return self.reconstruct_as(batch, batch.covariates)

    def reconstruct_as(self, batch: Batch, covariates: Tensor) -> Tensor:
        """See `Model`."""
        return self._decode(self.embed_cells(batch), covariates)

    def _decode(self, z: Tensor, covariates: Tensor) -> Tensor:
        return self.cells.factors(z, covariates) @ self.loadings.T + self.cells.offset(covariates)


class Direct(_SciLaMA):
    """Cells and genes trained together from the start (mode `direct`)."""

    settings: JointSettings

    def __init__(self, settings: JointSettings, data: DataSpec) -> None:
        super().__init__(settings, data)
        if not data.gene_priors:
            raise ValueError(f"gene_priors: mode '{settings.mode}' needs at least one gene prior, found none")
        self.genes = GeneSide(settings, list(data.gene_priors.values()))
        width = settings.hidden_dims[0]
        self.residual = None if settings.gene_residual is None else nn.Parameter(torch.zeros(data.n_genes, width))
        by_width = settings.joint_scale == "rsqrt_width"
        self.scale = width**-0.5 if by_width else 1.0
        self.latent_scale = settings.latent_dim**-0.5 if by_width else 1.0

    @property
    def scales_priors(self) -> bool:
        """See `ScaledPriors`."""
        return self.settings.prior_scaling == "standardised"

    def embed_genes(self) -> Tensor:
        """Mean of the fused posterior, (genes, latent)."""
        return self._gene_posterior().mean

    def reconstruct(self, batch: Batch) -> Tensor:
        """Expression from the product of both decoders at the posterior means, (cells, genes)."""
        return self.reconstruct_as(batch, batch.covariates)

    def reconstruct_as(self, batch: Batch, covariates: Tensor) -> Tensor:
        """See `Model`."""
        factors = self.cells.factors(self.embed_cells(batch), covariates)
        return self._decode(factors, self.embed_genes(), covariates)

    def predict_genes(self, batch: Batch, gene_priors: Mapping[str, Tensor]) -> Tensor:
        """See `Model`: cell factors times the loadings that the gene side reads off the new genes' priors.

        A new gene has no residual loadings and no covariate effects. Its offset is 0, its mean in the training cells,
        in z-scored expression, and elsewhere the mean of the known genes' offsets.
        """
        q = self.genes.posterior([self.scale_gene_prior(name, gene_priors[name]) for name in self.data.gene_priors])
        factors = self.cells.factors(self.embed_cells(batch), batch.covariates)
        product = self.genes.decoder.product(self.scale * factors, q.mean)
        return product if self.settings.input == "scaled" else product + self.cells.bias.mean()

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Squared error of the decoders' product, gamma x that of the latents' product, beta x both KL terms."""
        cell_draw, gene_draw = (batch.noise.for_cells, batch.noise.for_genes) if batch.noise else (None, None)
        kl_cells, z_cells, factors = self._encode_cells(batch, cell_draw)
        q_genes = self._gene_posterior()
        z_genes = q_genes.sample(gene_draw)
        error = self._error(self._decode(factors, z_genes, batch.covariates), batch)
        kl_genes, beta = q_genes.kl().mean(), self._beta(progress)
        parts = {
            "reconstruction": error,
            "kl_cells": kl_cells,
            "kl_genes": kl_genes,
            "beta": error.new_full((), beta),
        }
        loss = error + beta * (self._kl_weight_cells * kl_cells + kl_genes)
        if self._gamma > 0:
            of_latents = (z_cells * self.latent_scale) @ z_genes.T + self.cells.offset(batch.covariates)
            parts["latent_reconstruction"] = self._error(of_latents, batch)
            loss = loss + self._gamma * parts["latent_reconstruction"]
        if self.residual is not None and self.settings.gene_residual is not None:
            parts["residual"] = self.residual.square().sum() / max(self.data.n_cells, 1)
            loss = loss + self.settings.gene_residual * parts["residual"]
        return {"loss": loss, **parts}

    _kl_weight_cells = 1.0

    @property
    def _gamma(self) -> float:
        return self.settings.gamma

    def _encode_cells(self, batch: Batch, draw: Draw | None) -> tuple[Tensor, Tensor, Tensor]:
        q = self.cells.posterior(self._x(batch), batch.covariates)
        z = q.sample(draw)
        return q.kl().mean(), z, self.cells.factors(z, batch.covariates)

    def _gene_posterior(self) -> Posterior:
        return self.genes.posterior([self.gene_prior(name) for name in self.data.gene_priors])

    def _decode(self, factors: Tensor, z_genes: Tensor, covariates: Tensor) -> Tensor:
        """Expression of cells with these factors and genes with these latents, (cells, genes)."""
        expression = self.genes.decoder.product(self.scale * factors, z_genes) + self.cells.offset(covariates)
        return expression if self.residual is None else expression + factors @ self.residual.T

    def _error(self, prediction: Tensor, batch: Batch) -> Tensor:
        return squared_error(prediction, self._x(batch), batch.measured).mean()


class SelfInformed(Direct):
    """`direct` whose only gene prior comes from the expression of the training cells (mode `self_informed`)."""


class StepwiseGenes(Direct):
    """The gene side learned for a finished cell side (mode `stepwise_genes`, the second of three phases).

    The cell side is constant: no gradients, no dropout; its KL term and the latents' product are left out.
    """

    _kl_weight_cells = 0.0

    def __init__(self, settings: JointSettings, data: DataSpec) -> None:
        super().__init__(settings, data)
        self.cells.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; the cell side stays in evaluation mode."""
        super().train(mode)
        self.cells.eval()
        return self

    def warm_start(self, source: Mapping[str, Tensor]) -> list[str]:
        """Take over the cell side of a `beta_vae`; residuals start as what the priors do not say of its loadings."""
        taken = super().warm_start(source)
        _require(self.cells, "cells", taken)
        if self.residual is not None and "loadings" in source:
            with torch.no_grad():
                self.residual.copy_(source["loadings"] - self.scale * self.genes.decoder(self.embed_genes()))
        return taken

    @property
    def _gamma(self) -> float:
        return 0.0

    def _encode_cells(self, batch: Batch, draw: Draw | None) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            return super()._encode_cells(batch, draw)


class Stepwise(Direct):
    """Both sides trained on from `stepwise_genes` (mode `stepwise`, the last of three phases).

    Training goes on under the objective that the phases before it ended with: beta stays at its final value.
    """

    def first_checkpoint_epoch(self) -> int:
        """Every epoch trains the final objective."""
        return 0

    def warm_start(self, source: Mapping[str, Tensor]) -> list[str]:
        """Take over everything from a `stepwise_genes`."""
        taken = super().warm_start(source)
        _require(self, "", taken)
        return taken

    def _beta(self, progress: Progress) -> float:
        return self.settings.beta_end


def _require(module: nn.Module, prefix: str, taken: list[str]) -> None:
    """ValueError unless every parameter of `module` is among the names taken over from another model."""
    own = [name for name in module.state_dict() if not name.startswith("gene_prior_")]  # read anew by each run
    names = {f"{prefix}.{name}" if prefix else name for name in own}
    missing = sorted(names - set(taken))
    if missing:
        raise ValueError(
            f"warm start: the source lacks {len(missing)} of the {len(names)} parameters that must continue "
            f"({', '.join(missing[:3])}, ...); it needs the same genes, covariates and layer sizes"
        )
