"""scVI (Lopez et al., Nature Methods 2018): the VAE of counts, whose gene weights may follow a gene prior."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sclamp.config.scvi import SCVISettings
from sclamp.models.count_vae import CountVAE
from sclamp.models.flow_prior import spread_draws
from sclamp.types import Batch

GENE_DRAWS = 512
"""Latents behind the embedding of genes."""


class SCVI(CountVAE):
    """Mode `scvi`: free gene weights, or weights that are tied to, or started from, gene priors."""

    settings: SCVISettings

    @property
    def tied(self) -> bool:
        """True where the weights of the decoder's last layer are read off gene priors."""
        return self.settings.prior_role == "decoder" and bool(self.data.gene_priors)

    def make_gene_weights(self, width: int) -> None:
        """See `CountVAE`."""
        self.residual = None
        if not self.tied:
            super().make_gene_weights(width)
            return
        inputs = sum(self.data.gene_priors.values())
        self.prior_map = nn.Parameter(torch.empty(inputs, width))
        # Priors have unit variance: the weights that come out vary as Xavier's would.
        nn.init.normal_(self.prior_map, std=(2 / ((self.data.n_genes + width) * inputs)) ** 0.5)
        if self.settings.gene_residual is not None:
            self.residual = nn.Parameter(torch.zeros(self.data.n_genes, width))

    def gene_weights(self) -> Tensor:
        """See `CountVAE`."""
        if not self.tied:
            return self.gene_weight
        weights = self.scaled_priors() @ self.prior_map
        return weights if self.residual is None else weights + self.residual

    def penalties(self, batch: Batch, z: Tensor) -> dict[str, Tensor]:
        """See `CountVAE`: the residual's sum of squares per training cell, with its weight."""
        if self.residual is None or self.settings.gene_residual is None:
            return {}
        return {"residual": self.settings.gene_residual * self.residual.square().sum() / max(self.data.n_cells, 1)}

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        return super().gene_axes() | ({} if self.residual is None else {"residual": 0})

    def embed_genes(self) -> Tensor:
        """How each gene's logit follows the latents, (genes, latent): slopes of its best linear fit under N(0, 1).

        For a cell whose batch is unknown and whose other covariates are zero; from `GENE_DRAWS` evenly spread latents.
        """
        weights = self.gene_weights()
        z = spread_draws(GENE_DRAWS, self.settings.latent_dim).to(weights)
        conditions = self.conditions(weights.new_zeros(1, self.data.covariates.width)).expand(GENE_DRAWS, -1)
        h = self.hidden(z, conditions).double()
        # In float64, so that the last bits of a solver do not show.
        slopes = torch.linalg.lstsq(z.double(), h - h.mean(0)).solution  # (latent, width); z has columns of mean zero
        return (weights.double() @ slopes.T).to(weights.dtype)

    def load_gene_priors(self, priors: Mapping[str, Tensor]) -> None:
        """See `Model`; initial weights that follow gene priors are made here."""
        super().load_gene_priors(priors)
        if not self.data.gene_priors:
            return
        with torch.no_grad():
            if self.settings.prior_role == "decoder_init":
                self.gene_weight.copy_(_alike(self.gene_weight, self.scaled_priors()))
            elif self.settings.prior_role == "encoder_init":
                first = self.encoder.net.layers[0].get_parameter("linear.weight")
                first.copy_(_alike(first.T, self.scaled_priors()).T)

    def predict_genes(self, batch: Batch, gene_priors: Mapping[str, Tensor]) -> Tensor | None:
        """See `Model`: expected counts on the scale of the known genes, which share out the library size.

        A new gene has no weights of its own, no covariate shift, and the known genes' mean bias and mean share of extra
        zeros. None unless the decoder is tied to gene priors.
        """
        if not self.tied:
            return None
        z, conditions = self.posterior(batch).mean, self.conditions(batch.covariates)
        known = self.decode(z, conditions, batch)
        weights = self.scaled_priors(gene_priors) @ self.prior_map
        new = self.hidden(z, conditions) @ weights.T + self.gene_bias.mean()
        log_means = self.log_means(new, self.library(batch).log(), batch.measured, among=known.logits)
        if known.dropout is not None:
            log_means = log_means + known.dropout.neg().sigmoid().mean(1, keepdim=True).log()
        return log_means.exp()


def _alike(weights: Tensor, priors: Tensor) -> Tensor:
    """Random weights (genes, width) mapped by the gene priors' inner products: alike for like genes, as large.

    The same as a random linear map of the priors (genes, d).
    """
    mapped = priors @ (priors.T @ weights)
    return mapped * (weights.square().mean() / mapped.square().mean().clamp_min(1e-12)).sqrt()
