"""The VAE of raw counts that modes `scvi` and `gene_nb` share (Lopez et al., Nature Methods 2018).

log counts -> encoder -> z; (z, covariates) -> hidden factors h (cells, width); logits = h W^T + bias; mean counts =
softmax(logits) x library size. A subclass decides where the gene weights W come from and what they are charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad, softplus

from sclamp.config.count_vae import CountVAESettings
from sclamp.models.blocks import linear
from sclamp.models.count_nets import (
    ConditionedNet,
    Conditions,
    CountEncoder,
    covariate_bias,
    full_precision,
    net_style,
)
from sclamp.models.flow_prior import FlowPrior
from sclamp.models.likelihoods import dense_log_prob
from sclamp.models.posterior import Gaussian
from sclamp.models.scaled_priors import ScaledPriors
from sclamp.models.schedules import LinearWarmup
from sclamp.models.sparse_likelihoods import softmax_log_prob
from sclamp.types import Batch, DataSpec, Progress, Want


class Decoded(NamedTuple):
    """Parameters of the counts' distribution: logits (n, g); log_theta None, (g,) or (n, g); dropout None or (n, g)."""

    logits: Tensor
    log_theta: Tensor | None
    dropout: Tensor | None


class CountVAE(ScaledPriors):
    """Encoder, decoder, likelihood, KL warm-up.

    `z` is always the Gaussian latent; where the latent is logistic-normal, the decoder and the embedding read its
    softmax. `conditions` are covariates as `self.conditions` makes them.
    """

    settings: CountVAESettings
    schedules: tuple[str, ...] = ("kl_weight",)

    def __init__(self, settings: CountVAESettings, data: DataSpec) -> None:
        """Errors (ValueError): a setting that needs batches or labels which the data lack."""
        super().__init__(settings, data)
        self.conditions = Conditions(settings, data)
        width, hidden = self.conditions.width, settings.hidden_dims[0]
        self.encoder = CountEncoder(settings, data.n_genes, width)
        widths = [settings.latent_dim, *reversed(settings.hidden_dims)]
        self.decoder = ConditionedNet(widths, net_style(settings, "decoder", width))
        self.gene_bias = nn.Parameter(torch.zeros(data.n_genes))
        self.gene_condition = None
        if settings.covariate_layers == "all" and width:
            self.gene_condition = covariate_bias(width, data.n_genes, settings.covariate_bias_dims, settings.activation)
            nn.init.zeros_(self.gene_condition[-1].get_parameter("weight"))  # no covariate shifts any gene at first
        self.make_gene_weights(hidden)
        self._make_likelihood(hidden)
        self.flow = None
        if settings.prior == "flow":
            self.flow = FlowPrior(settings.latent_dim, settings.flow_transforms, settings.flow_hidden_dims)
        self.warmup = self._schedule()

    # --- what a subclass may replace ----------------------------------------------------------------------------------

    def make_gene_weights(self, width: int) -> None:
        """Create the parameters behind `gene_weights`, for decoders of this width."""
        self.gene_weight = nn.Parameter(torch.empty(self.data.n_genes, width))
        nn.init.xavier_normal_(self.gene_weight)

    def gene_weights(self) -> Tensor:
        """Weights of the decoder's last layer, (genes, width)."""
        return self.gene_weight

    def penalties(self, batch: Batch, z: Tensor) -> dict[str, Tensor]:
        """Terms that are added to the loss and logged, by name; each a scalar per cell, with its weight."""
        return {}

    def logits(self, h: Tensor, conditions: Tensor) -> Tensor:
        """Logits of the genes' shares, (n, g), of decoded factors (n, width)."""
        logits = full_precision(h @ self.gene_weights().T) + self.gene_bias
        return logits if self.gene_condition is None else logits + self.gene_condition(conditions)

    # --- encoding and decoding ----------------------------------------------------------------------------------------

    def wants(self) -> frozenset[Want]:
        """See `Model`."""
        wanted: list[Want] = ["log_counts", "entries"]
        return frozenset([*wanted, "labels"] if self.settings.dispersion == "gene-label" else wanted)

    def posterior(self, batch: Batch, conditions: Tensor | None = None) -> Gaussian:
        """Posterior of the latents, (n, latent); genes off a cell's panel are zero to the encoder."""
        x = batch.log_counts
        assert x is not None, "the batch holds what `wants` names"
        x = x if batch.measured is None else x * batch.measured
        return self.encoder(x, self.conditions(batch.covariates) if conditions is None else conditions)

    def latents(self, z: Tensor) -> Tensor:
        """What the decoder and the user see of z."""
        return z.softmax(-1) if self.settings.latent == "ln" else z

    def hidden(self, z: Tensor, conditions: Tensor) -> Tensor:
        """Decoded factors h of latents, (n, width)."""
        return self.decoder(self.latents(z), conditions)

    def decode(self, z: Tensor, conditions: Tensor, batch: Batch) -> Decoded:
        """Parameters of the counts' distribution; the batch says which dispersion applies."""
        h = self.hidden(z, conditions)
        dropout = None if self.dropout_head is None else full_precision(self.dropout_head(h))
        return Decoded(self.logits(h, conditions), self._log_theta(h, batch), dropout)

    def library(self, batch: Batch) -> Tensor:
        """Counts of each cell, (n,): of the model's genes or of all; a cell without counts is read as having one."""
        size, entries = batch.library_size, batch.entries
        if self.settings.library == "genes":
            assert entries is not None, "the batch holds what `wants` names"
            counts = entries.count
            if batch.measured is not None:
                counts = counts * batch.measured.flatten()[entries.position]
            # Entries come cell by cell: sums are differences of running ones, exact in float64.
            n_genes = self.data.n_genes
            ends = torch.arange(n_genes, (len(size) + 1) * n_genes, n_genes, device=size.device)
            running = pad(counts.double().cumsum(0), (1, 0))
            size = running[torch.searchsorted(entries.position, ends)].diff(prepend=running[:1]).to(size.dtype)
        return size.clamp_min(1)

    def log_means(
        self, logits: Tensor, log_library: Tensor, measured: Tensor | None = None, among: Tensor | None = None
    ) -> Tensor:
        """Logarithms of the mean counts, (n, genes), of genes with these logits.

        The library size is shared out among the measured ones of all the model's genes, whose logits are `among`, by
        default the first argument; other genes get what they would have had next to them.
        """
        if self.settings.link == "softplus":
            plain = torch.where(logits > -15, softplus(logits.clamp_min(-15)).log(), logits)
            return plain + (log_library - torch.tensor(float(self.data.n_genes)).log()).unsqueeze(1)
        among = logits if among is None else among
        known = among if measured is None else among.masked_fill(~measured, -torch.inf)
        return logits + (log_library - known.logsumexp(1)).unsqueeze(1)

    def log_likelihood(self, batch: Batch, z: Tensor, conditions: Tensor) -> Tensor:
        """Log p(counts | z) of each cell over its measured genes, (n,)."""
        logits, log_theta, dropout = self.decode(z, conditions, batch)
        log_library, likelihood = self.library(batch).log(), self.settings.likelihood
        if self.settings.link == "softmax":
            assert batch.entries is not None, "the batch holds what `wants` names"
            return softmax_log_prob(likelihood, logits, log_library, log_theta, dropout, batch.entries, batch.measured)
        means = self.log_means(logits, log_library, batch.measured)
        return dense_log_prob(likelihood, self._counts(batch), means, log_theta, dropout, batch.measured)

    def log_prior(self, z: Tensor) -> Tensor:
        """Log density of latents under the prior in nats, (n,)."""
        if self.flow is not None:
            return self.flow.log_prob(z)
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    # --- what the workflow asks ---------------------------------------------------------------------------------------

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Negative ELBO per cell, its KL terms weighted by the warm-up, and penalties."""
        draw = batch.noise.for_cells if batch.noise else None
        conditions = self.conditions(batch.covariates, draw)
        q = self.posterior(batch, conditions)
        z = q.sample(draw)
        reconstruction = -self.log_likelihood(batch, z, conditions).mean()
        kl, weight = self._kl(q, None if draw is None else z).mean(), self._kl_share(progress)
        parts = {"reconstruction": reconstruction, "kl_cells": kl, "kl_weight": reconstruction.new_full((), weight)}
        loss = reconstruction + weight * self.settings.kl_weight * kl
        if self.settings.batch_embedding_kl > 0:
            parts["kl_batch"] = self.conditions.kl(batch.covariates).mean()
            loss = loss + weight * self.settings.batch_embedding_kl * parts["kl_batch"]
        for name, penalty in self.penalties(batch, z).items():
            parts[name] = penalty
            loss = loss + penalty
        return {"loss": loss, **parts}

    def evaluate(self, batches: Iterable[Batch], seed: int) -> dict[str, float]:
        """Mean ELBO and log-likelihood per cell in nats (see `count_outputs`), from samples of the posterior."""
        from sclamp.models.count_outputs import held_out_numbers

        return held_out_numbers(self, batches, seed)

    def first_checkpoint_epoch(self) -> int:
        """First epoch that trains the final objective from its first step on."""
        first, batch_size = self.warmup.first_full_epoch(), self.settings.batch_size
        if self.settings.warmup_epochs is not None:
            return first
        steps = -(-self.data.n_cells // batch_size)
        steps -= steps > 1 and self.data.n_cells % batch_size == 1  # a single cell joins the batch before
        return -(-first // max(steps, 1))

    def embed_cells(self, batch: Batch) -> Tensor:
        """Posterior mean, (cells, latent); its softmax for logistic-normal latents."""
        return self.latents(self.posterior(batch).mean)

    def reconstruct(self, batch: Batch) -> Tensor:
        """Expected counts at the posterior mean, (cells, genes)."""
        return self.reconstruct_as(batch, batch.covariates)

    def reconstruct_as(self, batch: Batch, covariates: Tensor) -> Tensor:
        """See `Model`; each cell keeps its library size."""
        decoded = self.decode(self.posterior(batch).mean, self.conditions(covariates), batch)
        log_means = self.log_means(decoded.logits, self.library(batch).log(), batch.measured)
        return (log_means if decoded.dropout is None else log_means + logsigmoid(-decoded.dropout)).exp()

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        axes = {"encoder.net.layers.0.linear.weight": 1, "gene_weight": 0, "gene_bias": 0, "log_theta": 1}
        heads = ("theta_head.weight", "theta_head.bias", "dropout_head.weight", "dropout_head.bias")
        axes |= dict.fromkeys(heads, 0)
        if self.gene_condition is not None:
            axes[f"gene_condition.{len(self.gene_condition) - 1}.weight"] = 0
        own: Mapping[str, Tensor] = self.state_dict()
        return {name: axis for name, axis in axes.items() if name in own}

    # --- inside -------------------------------------------------------------------------------------------------------

    def _make_likelihood(self, width: int) -> None:
        settings, data = self.settings, self.data
        heads = {"gene": 1, "gene-batch": self.conditions.n_batches, "gene-label": len(data.labels), "gene-cell": 0}
        rows = heads[settings.dispersion]
        if settings.dispersion in ("gene-batch", "gene-label") and not rows:
            what = settings.dispersion.removeprefix("gene-")
            needed = "the batch among the covariates" if what == "batch" else "labels"
            raise ValueError(f"dispersion: '{settings.dispersion}' needs {needed}, and the data have none")
        per_gene = settings.likelihood != "poisson" and rows > 0
        self.log_theta = nn.Parameter(torch.zeros(rows, data.n_genes)) if per_gene else None
        self.theta_head = linear(width, data.n_genes) if settings.dispersion == "gene-cell" else None
        self.dropout_head = linear(width, data.n_genes) if settings.likelihood == "zinb" else None

    def _log_theta(self, h: Tensor, batch: Batch) -> Tensor | None:
        """Log inverse dispersion: (g,), (n, g), or None; an unknown batch or label gets the geometric mean."""
        if self.theta_head is not None:
            return full_precision(self.theta_head(h))
        if self.log_theta is None or self.settings.dispersion == "gene":
            return None if self.log_theta is None else self.log_theta[0]
        if self.settings.dispersion == "gene-batch":
            return self.conditions.shares(batch.covariates) @ self.log_theta
        assert batch.label is not None, "the batch holds what `wants` names"
        known = (batch.label >= 0).unsqueeze(1)
        return torch.where(known, self.log_theta[batch.label.clamp_min(0)], self.log_theta.mean(0))

    def _counts(self, batch: Batch) -> Tensor:
        """Counts (n, g), from the entries."""
        assert batch.entries is not None, "the batch holds what `wants` names"
        counts = batch.entries.count.new_zeros(len(batch) * self.data.n_genes)
        return counts.index_copy(0, batch.entries.position, batch.entries.count).view(len(batch), -1)

    def _kl(self, q: Gaussian, z: Tensor | None) -> Tensor:
        return q.kl() if self.flow is None else self.flow.kl(q, z)

    def _schedule(self) -> LinearWarmup:
        """The share of the KL weights by epoch, or by step."""
        start, length = self.settings.kl_start, self.settings.warmup_epochs
        length = self.settings.kl_warmup_steps if length is None else length
        return LinearWarmup(start, 1.0, 0, (1 - start) / length) if length else LinearWarmup(1.0, 1.0, 0, 0.0)

    def _kl_share(self, progress: Progress) -> float:
        if progress.validation:
            return 1.0
        return self.warmup.at(progress.step if self.settings.warmup_epochs is None else progress.epoch)
