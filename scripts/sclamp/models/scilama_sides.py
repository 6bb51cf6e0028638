"""The two halves of sciLaMA: the VAE of cells up to its factors, the VAE of genes up to its loadings."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sclamp.config.scilama import BetaVAESettings, JointSettings
from sclamp.models.blocks import FactorDecoder, GaussianEncoder, LayerStyle
from sclamp.models.posterior import FUSIONS, Gaussian, Posterior
from sclamp.models.whole_batch import Dropout


def _style(settings: BetaVAESettings) -> LayerStyle:
    return LayerStyle(
        activation=settings.activation,
        dropout=settings.dropout,
        batch_norm=settings.batch_norm,
        layer_norm=settings.layer_norm,
        linear_skip=settings.linear_skip,
        input_dropout=settings.input_dropout,
    )


EFFECT_SCALE = 10.0
"""Factor from parameter to covariate effect: Adam moves every parameter alike, and the effects must be found before
the latent takes their place."""


class CellSide(nn.Module):
    """The VAE of cells, up to the factors that loadings turn into expression."""

    def __init__(self, settings: BetaVAESettings, n_genes: int, n_covariates: int) -> None:
        super().__init__()
        hidden, latent, style = settings.hidden_dims, settings.latent_dim, _style(settings)
        self.reads_covariates = settings.encoder_covariates
        inputs = n_genes + n_covariates * self.reads_covariates
        self.encoder = GaussianEncoder(inputs, hidden, latent, style, settings.var_eps)
        self.decoder = FactorDecoder(latent + n_covariates, hidden, style)
        self.dropout = Dropout(settings.dropout)
        self.bias = nn.Parameter(torch.zeros(n_genes))
        has_effects = settings.covariate_effects and n_covariates > 0
        self.effects = nn.Parameter(torch.zeros(n_covariates, n_genes)) if has_effects else None

    def posterior(self, x: Tensor, covariates: Tensor) -> Gaussian:
        """Posterior of the cells' latents, (cells, latent)."""
        if self.effects is not None:
            # Without gradients: the effects are to explain expression, not to please the encoder.
            x = x - self._shift(covariates).detach()
        return self.encoder(torch.cat([x, covariates], 1) if self.reads_covariates else x)

    def factors(self, z: Tensor, covariates: Tensor) -> Tensor:
        """Factors of the cells, (cells, h)."""
        return self.dropout(self.decoder(torch.cat([z, covariates], 1)))

    def offset(self, covariates: Tensor) -> Tensor:
        """What a gene has in every cell, (genes,), or in every cell with these covariates, (cells, genes)."""
        return self.bias if self.effects is None else self.bias + self._shift(covariates)

    def _shift(self, covariates: Tensor) -> Tensor:
        assert self.effects is not None, "asked only where there are effects"
        return covariates @ (EFFECT_SCALE * self.effects)


class GeneSide(nn.Module):
    """The VAE of genes: one encoder per gene prior, fused to one posterior, decoded to loadings."""

    def __init__(self, settings: JointSettings, prior_widths: list[int]) -> None:
        super().__init__()
        hidden, latent = settings.hidden_dims, settings.latent_dim
        style = replace(_style(settings), dropout=settings.gene_dropout, input_dropout=0.0, of_cells=False)
        self.encoders = nn.ModuleList(
            GaussianEncoder(width, hidden, latent, style, settings.var_eps) for width in prior_widths
        )
        self.decoder = FactorDecoder(latent, hidden, style)
        self.fuse = FUSIONS[settings.fusion]

    def posterior(self, priors: list[Tensor]) -> Posterior:
        """Posterior of the genes' latents, (genes, latent)."""
        return self.fuse([encode(prior) for encode, prior in zip(self.encoders, priors, strict=True)])
