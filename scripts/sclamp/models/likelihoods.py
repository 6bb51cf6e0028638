"""Log probabilities of counts, written out plainly: Poisson, negative binomial, zero-inflated negative binomial.

All take logarithms of their parameters, compute in float64 (a float32 log-gamma loses 1e-3 at large arguments) and
return float32, or float64 for float64 parameters. `sparse_likelihoods` gives the same numbers faster.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LikelihoodName = Literal["nb", "zinb", "poisson"]

LOG_THETA_RANGE = (-46.0, 18.4)
"""Logarithms of theta outside are read as the nearest bound: 1e-20, where a gene's counts are as good as all zero, and
1e8, where NB is Poisson to eight digits, and beyond which differences of log-gammas have no digits left."""


def poisson_log_prob(counts: Tensor, log_mean: Tensor) -> Tensor:
    """Log Poisson(counts | mean), elementwise."""
    x, log_mu = counts.double(), log_mean.double()
    return _as(log_mean, x * log_mu - log_mu.exp() - torch.lgamma(x + 1))


def nb_log_prob(counts: Tensor, log_mean: Tensor, log_theta: Tensor) -> Tensor:
    """Log NB(counts | mean, theta), elementwise; theta is the inverse dispersion: variance = mean + mean^2 / theta."""
    return _as(log_mean, _nb(counts.double(), log_mean.double(), log_theta.double()))


def zinb_log_prob(counts: Tensor, log_mean: Tensor, log_theta: Tensor, dropout_logits: Tensor) -> Tensor:
    """Log of the mixture of NB(mean, theta) and a zero, whose probability is sigmoid(dropout_logits), elementwise."""
    x, logits = counts.double(), dropout_logits.double()
    observed = _nb(x, log_mean.double(), log_theta.double()) + logsigmoid(-logits)
    return _as(log_mean, torch.where(x > 0, observed, torch.logaddexp(logsigmoid(logits), observed)))


def dense_log_prob(
    likelihood: LikelihoodName,
    counts: Tensor,
    log_mean: Tensor,
    log_theta: Tensor | None = None,
    dropout_logits: Tensor | None = None,
    measured: Tensor | None = None,
) -> Tensor:
    """Log probability of each cell's counts, (n, g) -> (n,).

    log_theta: (g,) or (n, g), for all but poisson. dropout_logits (n, g): for zinb. measured (n, g) bool: genes that
    count; all of them if absent.
    """
    if likelihood == "poisson":
        values = poisson_log_prob(counts, log_mean)
    elif log_theta is None or (likelihood == "zinb" and dropout_logits is None):
        raise ValueError(f"likelihood '{likelihood}': log_theta is needed, and dropout_logits for zinb")
    elif likelihood == "nb":
        values = nb_log_prob(counts, log_mean, log_theta)
    else:
        assert dropout_logits is not None
        values = zinb_log_prob(counts, log_mean, log_theta, dropout_logits)
    return (values if measured is None else values.masked_fill(~measured, 0.0)).sum(-1)


def _nb(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    log_theta = log_theta.clamp(*LOG_THETA_RANGE)
    theta, log_ratio = log_theta.exp(), log_mu - log_theta
    ways = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    return ways + theta * logsigmoid(-log_ratio) + x * logsigmoid(log_ratio)  # log theta/(theta+mu), log mu/(theta+mu)


def _as(parameter: Tensor, value: Tensor) -> Tensor:
    return value if parameter.dtype == torch.float64 else value.float()
