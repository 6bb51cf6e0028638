"""A VAE of counts with a gene side (mode `gene_nb`): weights of genes are functions of gene priors plus residuals.

rate = softmax(h W^T / sqrt(width) + bias + bias of the batch) x library size, with decoded factors h of a cell. W and
bias are `GeneFunction`s: smooth functions of the gene priors and a residual per gene, whose variances are learned, so
that genes which training never saw have weights too. Encoder, decoder and likelihood are those of `CountVAE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from sclamp.config.gene_nb import GeneNBSettings
from sclamp.models.alignment import Adversary, discrepancy
from sclamp.models.base import Stream
from sclamp.models.batchwise_norm import BatchwiseLayer
from sclamp.models.count_nets import ConditionedLayer, full_precision
from sclamp.models.count_vae import CountVAE
from sclamp.models.gene_function import GeneFunction
from sclamp.models.gene_information import GeneInformation, reference_latents
from sclamp.models.gene_kernels import GeneKernels, Remembered
from sclamp.types import Batch, DataSpec, Progress

WEIGHT_DEVIATION, BIAS_DEVIATION, BATCH_DEVIATION = 0.3, 1.0, 0.1
"""Standard deviations of gene weights, of gene bias and of its differences between batches, before they are learned."""
START = 0.02
"""Size of the first, random gene weights."""
STEPS_BETWEEN_UPDATES = 50
"""About so many, in whole epochs."""


class GeneNB(CountVAE):
    """See the module. Gene priors are read by their directions: centred by the model's genes, at unit length."""

    settings: GeneNBSettings
    next_update: Tensor
    schedules = (*CountVAE.schedules, "prior_share", "residual_deviation")

    def __init__(self, settings: GeneNBSettings, data: DataSpec) -> None:
        """Errors (ValueError): a setting that needs batches which the data lack."""
        super().__init__(settings, data)
        n_batches = self.conditions.n_batches
        self._check(n_batches)
        if settings.batchwise_encoder_norm:
            layers = (cast(ConditionedLayer, layer) for layer in self.encoder.net.layers)
            self.encoder.net.layers = nn.ModuleList(BatchwiseLayer(layer, n_batches) for layer in layers)
        with_bias = settings.batch_bias and n_batches > 1
        self.batch_bias = GeneFunction(data.n_genes, n_batches, 0, BATCH_DEVIATION) if with_bias else None
        self.adversary = Adversary(settings.latent_dim, n_batches) if settings.alignment == "adversary" else None

    def make_gene_weights(self, width: int) -> None:
        """See `CountVAE`."""
        settings, n_genes = self.settings, self.data.n_genes
        self.kernels = GeneKernels(settings, len(self.data.gene_priors))
        self._remembered = Remembered()
        n_kernels = self.kernels.count
        # The control without gene priors keeps all other settings; `residual: none` would leave it nothing to learn.
        variances = settings.residual if n_kernels or settings.residual != "none" else "shared"
        self.weights = GeneFunction(n_genes, width, n_kernels, WEIGHT_DEVIATION, variances)
        self.weights.randomise(START)
        self.bias = GeneFunction(n_genes, 1, n_kernels, BIAS_DEVIATION)
        self.register_parameter("gene_bias", None)  # `bias` takes its place
        self.information = GeneInformation(n_genes, width, self.conditions.n_batches)
        self.register_buffer("next_update", torch.zeros((), dtype=torch.int64))  # an epoch
        self._asked = -1  # the last epoch in which it was compared

    # --- gene side ----------------------------------------------------------------------------------------------------

    def gene_weights(self) -> Tensor:
        """See `CountVAE`."""
        return self._scaled(self.weights(self._own_kernels()))

    def logits(self, h: Tensor, conditions: Tensor) -> Tensor:
        """See `CountVAE`; a cell of an unknown batch has the mean of the batches' biases."""
        if self.training:
            self.information.see(h)
        logits = full_precision(h @ self.gene_weights().T) + self.bias(self._own_kernels())[:, 0]
        if self.batch_bias is not None:
            logits = logits + conditions[:, : self.conditions.n_batches] @ self.batch_bias.residual.T
        return logits if self.gene_condition is None else logits + self.gene_condition(conditions)

    def embed_genes(self) -> Tensor:
        """How a gene's log rate goes with the latents, (genes, latent), less the mean gene.

        The coefficients of the linear regression of its logit on the latents, under their prior N(0, 1) and in the mean
        batch: the inner product with a cell's latent is about the gene's log fold change there.
        """
        z = reference_latents(self.settings.latent_dim).to(self.weights.residual)
        none = z.new_zeros(len(z), self.data.covariates.width)
        h, seen = self.hidden(z, self.conditions(none)), self.latents(z)
        slopes = (seen - seen.mean(0)).T @ h / len(z)  # (latent, width), by Stein's lemma the mean Jacobian
        vectors = full_precision(self.gene_weights() @ slopes.T)
        return vectors - vectors.mean(0)

    def predict_genes(self, batch: Batch, gene_priors: Mapping[str, Tensor]) -> Tensor | None:
        """See `Model`: expected counts on the scale of the known genes, which share out the library size.

        Weights and bias are what the gene priors say; a new gene has no residuals, no differences between batches and
        the known genes' mean share of extra zeros.
        """
        if not self.data.gene_priors:
            return None
        z, conditions = self.posterior(batch).mean, self.conditions(batch.covariates)
        known, h = self.decode(z, conditions, batch), self.hidden(z, conditions)
        new = [self.scale_gene_prior(name, gene_priors[name]) for name in self.data.gene_priors]
        kernels = self.kernels(new, [self.gene_prior(name) for name in self.data.gene_priors])
        logits = h @ self._scaled(self.weights.mean(kernels)).T + self.bias.mean(kernels)[:, 0]
        logits = logits + self.bias.residual.mean()
        log_means = self.log_means(logits, self.library(batch).log(), batch.measured, among=known.logits)
        if known.dropout is not None:
            log_means = log_means + known.dropout.neg().sigmoid().mean(1, keepdim=True).log()
        return log_means.exp()

    # --- training -----------------------------------------------------------------------------------------------------

    def initialise(self, stream: Stream) -> None:
        """See `GradientModel`: how often each gene is counted, for its information; its logarithm is the first bias."""
        self.information.count(stream, self.conditions)
        one = 1 / max(self.data.n_cells, 1)
        counts, measured = (self.information.get_buffer(f"gene_{name}") for name in ("counts", "measured"))
        rates = ((counts + one / 2) / measured.clamp_min(one)).log()
        with torch.no_grad():
            self.bias.residual.copy_((rates - rates.mean()).unsqueeze(1))

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """See `CountVAE`; validation logs penalties without adding them: it asks how well held-out cells are told."""
        if self.training and self._update_is_due(progress):
            half = replace(progress, epoch=progress.epoch // 2, step=progress.step // 2)
            self._update(settle=self._kl_share(half) == 1)
        parts = super().loss(batch, progress)
        if progress.validation:
            parts["loss"] = parts["loss"] - sum(parts[name] for name in ("shrinkage", "alignment") if name in parts)
        parts["prior_share"] = self.weights.shares[:-1].sum()
        parts["residual_deviation"] = self.weights.residual_variance().mean().sqrt()
        return parts

    def penalties(self, batch: Batch, z: Tensor) -> dict[str, Tensor]:
        """See `CountVAE`: shrinkage, which is a charge of all training cells together, and alignment."""
        kernels = self._own_kernels()
        charge = self.weights.penalty(kernels) + self.bias.penalty(kernels)
        charge = charge if self.batch_bias is None else charge + self.batch_bias.penalty([])
        parts = {"shrinkage": charge / max(self.data.n_cells, 1)}
        if self.adversary is not None:
            parts["alignment"] = self.settings.alignment_weight * self.adversary(z, batch.batch, batch.gather)
        elif self.settings.alignment == "mmd":
            distance = discrepancy(z, batch.batch, self.conditions.n_batches, batch.gather)
            parts["alignment"] = self.settings.alignment_weight * distance
        return parts

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        functions = ("weights", "bias", "batch_bias")
        own = {f"{name}.{what}": 0 for name in functions for what in ("residual", "dual", "spread")}
        own |= {f"information.{name}": 0 for name in ("gene_counts", "gene_measured")}
        state: Mapping[str, Any] = self.state_dict()
        return super().gene_axes() | {name: axis for name, axis in own.items() if len(state.get(name, ())) > 1}

    # --- inside -------------------------------------------------------------------------------------------------------

    def _update_is_due(self, progress: Progress) -> bool:
        """True at the first step of some epochs, where every process has cells."""
        if progress.epoch == self._asked:  # asking a GPU in every step would make it wait
            return False
        self._asked = progress.epoch
        every = max(1, round(STEPS_BETWEEN_UPDATES * self.settings.batch_size / max(self.data.n_cells, 1)))
        due = progress.epoch >= int(self.next_update) and self._kl_share(progress) == 1
        if due:
            self.next_update.fill_(progress.epoch + every)
        return due

    @torch.no_grad()
    def _update(self, settle: bool) -> None:
        """Gene functions and learned variances, from what the training cells determine (see `gene_function`).

        settle: gene weights have been trained for long enough to tell what gene priors explain of them.
        """
        theta = None if self.log_theta is None else self.log_theta.exp().mean(0)
        kernels, of_genes = self._own_kernels(), self.information.of_genes(theta, self.data.n_cells)
        self.weights.update(kernels, self.information.of_weights(of_genes), settle)
        self.bias.update(kernels, of_genes.unsqueeze(1))
        if self.batch_bias is not None:
            self.batch_bias.update([], self.information.of_batches(of_genes))

    def _own_kernels(self) -> list[Tensor]:
        return self._remembered.get(self.kernels, {name: self.gene_prior(name) for name in self.data.gene_priors})

    def _scaled(self, weights: Tensor) -> Tensor:
        return weights * weights.shape[1] ** -0.5

    def _check(self, n_batches: int) -> None:
        settings = self.settings
        asked = ["batchwise_encoder_norm: true"] if settings.batchwise_encoder_norm else []
        asked += [] if settings.alignment == "none" else [f"alignment: {settings.alignment}"]
        if asked and n_batches < 2:
            needed = "at least two batches among the covariates"
            raise ValueError(f"{' and '.join(asked)}: expected {needed}, found {n_batches}; leave these settings out")
