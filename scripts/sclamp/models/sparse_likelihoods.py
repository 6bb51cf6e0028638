"""Likelihoods of counts from those that are not zero, exact, with gradients written out.

Most counts are zero, and there log P is simple: with r = mu / theta it is -theta log(1 + r) for the negative binomial
(NB). A count x > 0 adds, with lgamma(x + theta) - lgamma(theta) written as x log(theta) + S and mu = exp(m),

    S + x (m - log(1 + r)) - log x!,    S = sum over k < x of log(1 + k / theta),

in which log(theta) has cancelled, so that neither large nor small theta loses digits. The slope in m is
(x - mu) / (1 + r) everywhere. `likelihoods` has the definitions. On a CPU in float32 `count_kernel` computes the same
numbers; elsewhere the tensors here do, without the device being waited for.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sclamp.models.likelihoods import LOG_THETA_RANGE
from sclamp.types import Entries

LIKELIHOODS = ("poisson", "nb", "zinb")


class Given(NamedTuple):
    """What has no gradient. wanted: whether the others need one."""

    likelihood: str
    log_library: Tensor
    entries: Entries
    wanted: bool


class Slopes(NamedTuple):
    """Log probability of each cell, (n,), and its slopes in the logits, log theta and dropout logits, (n, g) each.

    Slopes without use have no rows.
    """

    value: Tensor
    logits: Tensor
    log_theta: Tensor
    dropout: Tensor


def softmax_log_prob(
    likelihood: str,
    logits: Tensor,
    log_library: Tensor,
    log_theta: Tensor | None,
    dropout_logits: Tensor | None,
    entries: Entries,
    measured: Tensor | None = None,
) -> Tensor:
    """Log probability of each cell's counts, (n,), with rates softmax(logits over the measured genes) x library.

    likelihood: "poisson", "nb" or "zinb". logits (n, g). log_library (n,), -inf for a cell without counts. log_theta:
    inverse dispersion by gene (g,) or by cell and gene (n, g). dropout_logits (n, g): of zero-inflation. measured
    (n, g) bool: genes that count; entries elsewhere are ignored. Differentiable once, in logits, log_theta and
    dropout_logits. Computed in float32 at least, also under autocast. ValueError: a likelihood that does not exist, or
    without the tensors that it needs.
    """
    _check(likelihood, log_theta, dropout_logits)
    precise = torch.promote_types(logits.dtype, torch.float32)
    theta = log_theta.to(precise).clamp(*LOG_THETA_RANGE) if log_theta is not None and likelihood != "poisson" else None
    dropout = dropout_logits.to(precise) if dropout_logits is not None and likelihood == "zinb" else None
    wanted = torch.is_grad_enabled()
    logits = logits.to(precise)
    if measured is not None:
        logits = logits.masked_fill(~measured, -torch.inf)
    way = _ByKernel if _kernel_can(logits, entries) else _ByTensors
    return way.apply(logits, theta, dropout, Given(likelihood, log_library.to(precise), entries, wanted))


def _check(likelihood: str, log_theta: Tensor | None, dropout_logits: Tensor | None) -> None:
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood: '{likelihood}' is none of {', '.join(LIKELIHOODS)}")
    if likelihood != "poisson" and log_theta is None:
        raise ValueError(f"log_theta: absent, but the likelihood '{likelihood}' needs it")
    if likelihood == "zinb" and dropout_logits is None:
        raise ValueError("dropout_logits: absent, but the likelihood 'zinb' needs them")


class _ByTensors(torch.autograd.Function):
    """The slopes are made together with the values, while both are at hand; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, log_theta: Tensor | None, dropout: Tensor | None, given: Given) -> Tensor:
        done = _by_tensors(logits, log_theta, dropout, given)
        ctx.save_for_backward(done.logits, done.log_theta, done.dropout)
        ctx.by_gene = log_theta is not None and log_theta.dim() == 1
        return done.value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, log_theta, dropout = ctx.saved_tensors
        column = grad.unsqueeze(1)
        d_theta = None
        if len(log_theta):
            d_theta = grad @ log_theta if ctx.by_gene else column * log_theta
        return column * logits, d_theta, column * dropout if len(dropout) else None, None


class _ByKernel(torch.autograd.Function):
    """The slopes are made together with the values, for minus the mean over the cells, which is what losses hold.

    For another multiple of the sum they are scaled, for other sums they are made anew.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, log_theta: Tensor | None, dropout: Tensor | None, given: Given) -> Tensor:
        weights = np.full(len(logits), -1 / len(logits), np.float32)
        done = _by_kernel(logits, log_theta, dropout, given, weights)
        ctx.save_for_backward(logits, log_theta, dropout)
        ctx.given, ctx.weight, ctx.slopes = given, weights[0], done[1:]
        return done.value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted, slopes = grad.contiguous().numpy(), ctx.slopes
        if (wanted != wanted[0]).any():
            logits, log_theta, dropout = ctx.saved_tensors
            slopes = _by_kernel(logits, log_theta, dropout, ctx.given, wanted)[1:]
        elif wanted[0] != ctx.weight:
            slopes = [slope * float(wanted[0] / ctx.weight) for slope in slopes]
        return *(slope if len(slope) else None for slope in slopes), None


# --- by tensors -------------------------------------------------------------------------------------------------------

Terms = tuple[Tensor, Tensor, Tensor | None]
"""Log probabilities and their slopes in m and in log theta (None without theta), one per gene or count."""


def _by_tensors(logits: Tensor, log_theta: Tensor | None, dropout: Tensor | None, given: Given) -> Slopes:
    """All counts as if they were zero, then those that are not; the latter in float64, because their terms cancel."""
    entries, log_library = given.entries, given.log_library
    log_share = logits.log_softmax(1)
    share = log_share.exp()
    mu = share * log_library.exp().unsqueeze(1)
    at, measured = entries.position, _at(logits, entries.position) > -torch.inf
    cell, gene = at // logits.shape[1], at % logits.shape[1]
    m = _at(log_share, at).double() + log_library.index_select(0, cell).double()
    if log_theta is None:
        zeros, counts = _poisson_zeros(mu), _poisson_counts(entries.count.double(), m)
    else:
        theta = log_theta.exp()
        there = theta.index_select(0, gene) if theta.dim() == 1 else _at(theta, at)
        zeros, counts = _nb_zeros(mu, theta), _nb_counts(entries.count.double(), m, there.double())
    d_dropout = mu[:0]
    if dropout is not None:
        zeros, counts, d_dropout = _inflated(zeros, counts, dropout, at)
        _put(d_dropout, at, -_at(dropout, at).sigmoid(), measured)
    for everywhere, of_count in zip(zeros, counts, strict=True):
        if everywhere is not None and of_count is not None:
            _put(everywhere, at, of_count, measured)
    value, d_m, d_theta = zeros
    d_logits = d_m - share * d_m.sum(1, keepdim=True)
    return Slopes(value.sum(1), d_logits, mu[:0] if d_theta is None else d_theta, d_dropout)


def _poisson_zeros(mu: Tensor) -> Terms:
    return -mu, -mu, None


def _poisson_counts(x: Tensor, m: Tensor) -> Terms:
    return x * m - m.exp() - torch.lgamma(x + 1), x - m.exp(), None


def _nb_zeros(mu: Tensor, theta: Tensor) -> Terms:
    ratio = mu / theta
    value, slope = -theta * ratio.log1p(), -mu / (1 + ratio)
    return value, slope, value - slope


def _nb_counts(x: Tensor, m: Tensor, theta: Tensor) -> Terms:
    ratio = m.exp() / theta
    logs = torch.lgamma(x + theta) - torch.lgamma(theta) - x * theta.log()
    shares = theta * (torch.digamma(x + theta) - torch.digamma(theta))
    zero = theta * ratio.log1p()
    slope = (x - m.exp()) / (1 + ratio)
    return logs + x * (m - ratio.log1p()) - zero - torch.lgamma(x + 1), slope, shares - slope - zero


def _inflated(zeros: Terms, counts: Terms, dropout: Tensor, at: Tensor) -> tuple[Terms, Terms, Tensor]:
    """A zero is a dropout or a zero of the NB, a count has come past the dropout; and slopes in the dropout."""
    inner = zeros[0] - dropout
    weight = inner.sigmoid()
    value = logsigmoid(dropout) - logsigmoid(-inner)
    d_dropout = (-dropout).sigmoid() - weight
    there = _at(dropout, at)
    theta = None if zeros[2] is None else zeros[2] * weight
    return (value, zeros[1] * weight, theta), (counts[0] + logsigmoid(-there).double(), *counts[1:]), d_dropout


def _at(values: Tensor, at: Tensor) -> Tensor:
    return values.flatten().index_select(0, at)


def _put(values: Tensor, at: Tensor, there: Tensor, measured: Tensor) -> None:
    """Replace values at flat positions, where the gene was measured."""
    flat = values.view(-1)
    flat[at] = torch.where(measured, there.to(values.dtype), flat.index_select(0, at))


# --- by the compiled kernel -------------------------------------------------------------------------------------------


def _kernel_can(logits: Tensor, entries: Entries) -> bool:
    """The kernel is for float32 on the CPU and whole counts, as the data are; other counts are not rounded."""
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return False
    return torch.equal(entries.count, entries.count.round())


def _by_kernel(
    logits: Tensor, log_theta: Tensor | None, dropout: Tensor | None, given: Given, weights: np.ndarray
) -> Slopes:
    """Slopes are those of the sum of the values with these weights; in log theta they have its shape."""
    from sclamp.models import count_kernel as kernel

    n, g = logits.shape
    by_gene = log_theta is not None and log_theta.dim() == 1
    parts = max(1, min(torch.get_num_threads(), n // 16))
    none = np.empty((0, g), np.float32)
    theta = none if log_theta is None else log_theta.exp().reshape(-1, g).contiguous().numpy()
    tables: tuple[np.ndarray, np.ndarray] = (none, none)
    if by_gene:
        tables = np.empty((kernel.TABLE + 1, g), np.float32), np.empty((kernel.TABLE + 1, g), np.float32)
        kernel.rising_table(theta[0], *tables)
    rows = [n, 0 if log_theta is None else parts if by_gene else n, 0 if dropout is None else n]
    slopes = [torch.zeros(m, g) if m == parts else torch.empty(m, g) for m in (rows if given.wanted else [0, 0, 0])]
    value, position = torch.empty(n), given.entries.position.numpy()
    arguments: Any = (
        logits.contiguous().numpy(),
        logits.amax(1).numpy(),
        given.log_library.contiguous().numpy(),
        theta,
        tables,
        none if dropout is None else dropout.contiguous().numpy(),
        (np.searchsorted(position, np.arange(0, (n + 1) * g, g)), position, given.entries.count.numpy()),
        weights,
        value.numpy(),
        tuple(slope.numpy() for slope in slopes),
    )
    bounds, kind = [n * part // parts for part in range(parts + 1)], LIKELIHOODS.index(given.likelihood)
    work = [(kind, part, *pair, *arguments) for part, pair in enumerate(itertools.pairwise(bounds))]
    list((_threads(parts).map if parts > 1 else map)(lambda each: kernel.count_rows(*each), work))
    if by_gene and given.wanted:
        slopes[1] = slopes[1].sum(0)
    return Slopes(value, *slopes)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="sclamp-likelihood")
