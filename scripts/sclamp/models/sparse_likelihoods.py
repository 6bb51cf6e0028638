"""Likelihoods of counts from those that are not zero, exact, with gradients written out.

Most counts are zero, and there log P is simple: with r = mu / theta it is -theta log(1 + r) for the negative binomial
(NB). A count x > 0 adds, with lgamma(x + theta) - lgamma(theta) written as x log(theta) + S and mu = exp(m),

    S + x (m - log(1 + r)) - log x!,    S = sum over k < x of log(1 + k / theta),

in which log(theta) has cancelled, so that neither large nor small theta loses digits. The slope in m is
(x - mu) / (1 + r) everywhere. `likelihoods` has the definitions. On a CPU in float32 `count_kernel` computes the same
numbers; elsewhere the tensors here do, without the device being waited for.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Slopes(NamedTuple):
    """Log probability of each cell, (n,), and its slopes in the logits, log theta and dropout logits, (n, g) each."""

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
    with torch.autocast(logits.device.type, enabled=False):
        return _SoftmaxLogProb.apply(
            likelihood, logits.to(precise), theta, dropout, log_library.to(precise), entries, measured, wanted
        )


def _check(likelihood: str, log_theta: Tensor | None, dropout_logits: Tensor | None) -> None:
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood: '{likelihood}' is none of {', '.join(LIKELIHOODS)}")
    if likelihood != "poisson" and log_theta is None:
        raise ValueError(f"log_theta: absent, but the likelihood '{likelihood}' needs it")
    if likelihood == "zinb" and dropout_logits is None:
        raise ValueError("dropout_logits: absent, but the likelihood 'zinb' needs them")


class _SoftmaxLogProb(torch.autograd.Function):
    """The slopes are made together with the values, while both are at hand; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        likelihood: str,
        logits: Tensor,
        log_theta: Tensor | None,
        dropout: Tensor | None,
        log_library: Tensor,
        entries: Entries,
        measured: Tensor | None,
        wanted: bool,
    ) -> Tensor:
        if measured is not None:
            logits = logits.masked_fill(~measured, -torch.inf)
        compute = _by_kernel if _kernel_can(logits, entries) else _by_tensors
        done = compute(likelihood, logits, log_theta, dropout, log_library, entries, wanted)
        ctx.save_for_backward(done.logits, done.log_theta, done.dropout)
        ctx.by_gene = log_theta is not None and log_theta.dim() == 1
        return done.value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, log_theta, dropout = ctx.saved_tensors
        _, wants_logits, wants_theta, wants_dropout, *_ = ctx.needs_input_grad
        column = grad.unsqueeze(1)
        d_theta = (grad @ log_theta if ctx.by_gene else column * log_theta) if wants_theta else None
        d_logits, d_dropout = column * logits if wants_logits else None, column * dropout if wants_dropout else None
        return None, d_logits, d_theta, d_dropout, None, None, None, None


# --- by tensors -------------------------------------------------------------------------------------------------------

Terms = tuple[Tensor, Tensor, Tensor | None]
"""Log probabilities and their slopes in m and in log theta (None without theta), one per gene or count."""


def _by_tensors(
    likelihood: str,
    logits: Tensor,
    log_theta: Tensor | None,
    dropout: Tensor | None,
    log_library: Tensor,
    entries: Entries,
    wanted: bool,
) -> Slopes:
    """All counts as if they were zero, then those that are not; the latter in float64, because their terms cancel."""
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
    likelihood: str,
    logits: Tensor,
    log_theta: Tensor | None,
    dropout: Tensor | None,
    log_library: Tensor,
    entries: Entries,
    wanted: bool,
) -> Slopes:
    from sclamp.models import count_kernel as kernel

    n, g = logits.shape
    none = np.empty((0, g), np.float32)
    theta = none if log_theta is None else log_theta.detach().exp().reshape(-1, g).contiguous().numpy()
    tables: tuple[np.ndarray, np.ndarray] = (none, none)
    if log_theta is not None and log_theta.dim() == 1:
        tables = np.empty((kernel.TABLE + 1, g), np.float32), np.empty((kernel.TABLE + 1, g), np.float32)
        kernel.rising_table(theta[0], *tables)
    value = torch.empty(n)
    slopes = [
        torch.empty(n if wanted and used else 0, g) for used in (True, log_theta is not None, dropout is not None)
    ]
    position = entries.position.numpy()
    starts = np.searchsorted(position, np.arange(0, (n + 1) * g, g))
    arguments: Any = (
        logits.detach().contiguous().numpy(),
        logits.detach().amax(1).numpy(),
        log_library.contiguous().numpy(),
        theta,
        tables,
        none if dropout is None else dropout.detach().contiguous().numpy(),
        (starts, position, entries.count.numpy()),
        value.numpy(),
        tuple(slope.numpy() for slope in slopes),
    )
    _in_threads(n, lambda first, last: kernel.count_rows(LIKELIHOODS.index(likelihood), first, last, *arguments))
    return Slopes(value, *slopes)


def _in_threads(n: int, work: Callable[[int, int], None]) -> None:
    """Share rows out among as many threads as torch uses; rows do not depend on each other."""
    parts = max(1, min(torch.get_num_threads(), n // 16))
    if parts == 1:
        work(0, n)
        return
    bounds = [n * part // parts for part in range(parts + 1)]
    list(_threads(parts).map(work, bounds[:-1], bounds[1:]))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="sclamp-likelihood")
