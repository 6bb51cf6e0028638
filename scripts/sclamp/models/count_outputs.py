"""What a fitted VAE of counts says of cells: posterior samples, normalised expression, log-likelihoods.

Importance weights correct what the encoder gets wrong: samples z_s of q(z | x) weigh p(x | z_s) p(z_s) / q(z_s | x),
made to sum to 1 for each cell by itself, so that weighted means are means of the model's own posterior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sclamp.core.errors import UserError, unknown
from sclamp.models.count_vae import CountVAE
from sclamp.models.noise import Noise
from sclamp.types import Batch, DataSpec

EVALUATION_SAMPLES = 50
"""Samples of each cell's posterior behind the numbers about held-out cells."""


def batch_names(data: DataSpec) -> tuple[str, ...]:
    """Names of the batches in the order of their covariate columns; none where no covariate is the batch."""
    first = 0
    for values in data.covariates.categorical.values():
        if (first, first + len(values)) == data.batch_columns:
            return values
        first += len(values)
    return ()


def as_batches(data: DataSpec, covariates: Tensor, wanted: Sequence[str] | None = None) -> list[Tensor]:
    """Covariates (n, c) with the batch replaced, once for each of the wanted batches, by default for all known ones.

    UserError: a name that is no batch, or data whose batch is no covariate.
    """
    names, (first, last) = batch_names(data), data.batch_columns
    if not names:
        raise UserError("batch: the model was trained without the batch among its covariates; there is none to choose.")
    if problems := [unknown("batch", name, names) for name in wanted or () if name not in names]:
        raise UserError(*problems)
    found = []
    for name in names if wanted is None else wanted:
        changed = covariates.clone()
        changed[:, first:last] = 0
        changed[:, first + names.index(name)] = 1
        found.append(changed)
    return found


def posterior_samples(model: CountVAE, batch: Batch, n_samples: int) -> Tensor:
    """Draw Gaussian latents from the posterior by the batch's noise, (samples, cells, latent)."""
    if batch.noise is None:
        raise ValueError("noise: the batch has none, and samples were asked for")
    q = model.posterior(batch)
    return torch.stack([q.sample(batch.noise.for_cells) for _ in range(n_samples)])


def importance_weights(model: CountVAE, batch: Batch, z: Tensor) -> Tensor:
    """Weights of posterior samples (samples, cells, latent), which sum to 1 for each cell: (samples, cells)."""
    return _log_weights(model, batch, z).softmax(0)


def log_likelihood(model: CountVAE, batch: Batch, z: Tensor) -> Tensor:
    """Estimate log p(counts) of each cell in nats, (cells,), from posterior samples (samples, cells, latent).

    The logarithm of the mean importance weight (Burda et al., ICLR 2016): a lower bound in expectation, and the closer
    the more samples.
    """
    return _log_weights(model, batch, z).logsumexp(0) - math.log(len(z))


def normalised_expression(
    model: CountVAE,
    batch: Batch,
    genes: Sequence[int] | None = None,
    targets: Sequence[Tensor] | None = None,
    z: Tensor | None = None,
    weights: Tensor | None = None,
    library_size: float = 1e4,
) -> Tensor:
    """Expression without extra zeros that sums to `library_size` over all the model's genes: (cells, genes).

    genes: positions to keep; all by default. targets: covariates (cells, c) under which the cells are shown (see
    `as_batches`), averaged over; by default their own. z: posterior samples (samples, cells, latent) to average over;
    by default the posterior mean. weights (samples, cells): of these samples, equal by default.
    """
    targets = [batch.covariates] if targets is None else targets
    z = model.posterior(batch).mean.unsqueeze(0) if z is None else z
    weights = torch.full(z.shape[:2], 1 / len(z), device=z.device, dtype=z.dtype) if weights is None else weights
    chosen = slice(None) if genes is None else torch.as_tensor(genes, device=z.device)
    total = torch.zeros((), device=z.device, dtype=z.dtype)
    for covariates in targets:
        conditions = model.conditions(covariates)
        for sample, weight in zip(z, weights, strict=True):
            decoded = model.decode(sample, conditions, batch)
            log_means = model.log_means(decoded.logits, torch.zeros_like(weight))
            total = total + weight.unsqueeze(1) * log_means.softmax(1)[:, chosen]
    return total * (library_size / len(targets))


def held_out_numbers(model: CountVAE, batches: Iterable[Batch], seed: int) -> dict[str, float]:
    """ELBO and log-likelihood in nats, from `EVALUATION_SAMPLES` of each posterior: means over cells, NaN without any.

    The ELBO is the mean of the logarithms of the weights, the log-likelihood the logarithm of their mean.
    """
    sums, n_cells = torch.zeros(2, dtype=torch.float64), 0
    for number, batch in enumerate(batches):
        batch.noise = Noise(seed, number, 0, len(batch), batch.rows.device)
        log_weights = _log_weights(model, batch, posterior_samples(model, batch, EVALUATION_SAMPLES)).double()
        bound = log_weights.logsumexp(0) - math.log(EVALUATION_SAMPLES)
        sums += torch.stack([log_weights.mean(0).sum(), bound.sum()]).cpu()
        n_cells += len(batch)
    means = (sums / n_cells).tolist() if n_cells else [math.nan, math.nan]
    return dict(zip(("elbo", "log_likelihood"), means, strict=True))


def _log_weights(model: CountVAE, batch: Batch, z: Tensor) -> Tensor:
    """Logarithms of p(x, z) / q(z | x), (samples, cells)."""
    conditions = model.conditions(batch.covariates)
    q = model.posterior(batch, conditions)
    rows = [model.log_likelihood(batch, one, conditions) + model.log_prior(one) for one in z]
    deviation = (z - q.mean) / q.std
    log_q = -(0.5 * deviation.square() + q.std.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
    return torch.stack(rows) - log_q
