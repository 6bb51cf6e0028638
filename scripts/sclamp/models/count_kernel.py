"""Likelihoods of counts on a CPU in float32, compiled: each cell's row is done with while it lies in the cache.

The same numbers as the tensor form in `sparse_likelihoods`, in a tenth of its passes over memory. Numba keeps the
compiled form until this file changes, and does not see changes of `row_math`: after one, delete __pycache__.
"""

from __future__ import annotations

import math

import numpy as np

from sclamp.models.row_math import (
    ONE,
    ZERO,
    Number,
    add_scaled,
    compiled,
    difference,
    exponentials,
    log1p32,
    log_factorial,
    log_gamma_and_digamma,
    multiply,
    row_sum,
    scaled,
    sigmoid,
    sigmoid_row,
    softplus,
    softplus_row,
    subtract,
)

POISSON, NB, ZINB = 0, 1, 2
TABLE = 32
"""Counts up to this one are looked up in a table, made per gene and step; beyond, Stirling's series is exact enough."""
LARGE = 256
"""Counts beyond have their terms in float64 throughout, because these cancel."""


@compiled
def _beyond_table(x: Number, theta: Number) -> tuple[Number, Number]:
    """What counts from TABLE to x - 1 add to the two sums of `rising_table`."""
    logs, slope = log_gamma_and_digamma(x + theta)
    logs_before, slope_before = log_gamma_and_digamma(TABLE + theta)
    return logs - logs_before - (x - TABLE) * math.log(theta), theta * (slope - slope_before)


@compiled
def _rising(x: int, theta: Number) -> tuple[Number, Number]:
    """The two sums of `rising_table` for one whole count and one theta, up to TABLE."""
    product, shares, logs = 1.0, 0.0, 0.0
    for k in range(x):
        factor = 1.0 + k / theta
        product *= factor
        shares += 1.0 / factor
        if product > 1e200:
            logs, product = logs + math.log(product), 1.0
    return logs + math.log(product), shares


@compiled
def rising_table(theta: np.ndarray, logs: np.ndarray, shares: np.ndarray) -> None:
    """For each count x (axis 0, TABLE + 1 of them) and gene: sums over k < x of log(1 + k/theta) and 1 / (1 + k/theta).

    The first is log Gamma(x + theta) - log Gamma(theta) - x log(theta), without the cancellation.
    """
    logs[0], shares[0] = ZERO, ZERO
    for k in range(TABLE):
        _table_row(np.float32(k), theta, logs[k], shares[k], logs[k + 1], shares[k + 1])


@compiled
def _table_row(
    k: Number, theta: np.ndarray, logs: np.ndarray, shares: np.ndarray, logs1: np.ndarray, shares1: np.ndarray
) -> None:
    for j in range(theta.shape[0]):
        ratio = k / theta[j]
        logs1[j] = logs[j] + log1p32(ratio)
        shares1[j] = shares[j] + ONE / (ONE + ratio)


@compiled
def _poisson_zeros(share: np.ndarray, scale: Number, value: np.ndarray, slope: np.ndarray) -> None:
    for j in range(share.shape[0]):
        value[j] = slope[j] = -share[j] * scale


@compiled
def _nb_zeros(share: np.ndarray, scale: Number, theta: np.ndarray, log_ratio: np.ndarray, slope: np.ndarray) -> None:
    """log(1 + mu/theta), and the slope in log mu of log P(0) = -theta log(1 + mu/theta)."""
    for j in range(share.shape[0]):
        mu = share[j] * scale
        ratio = mu / theta[j]
        log_ratio[j] = log1p32(ratio)
        slope[j] = -mu / (ONE + ratio)


@compiled
def _nb_values(theta: np.ndarray, log_ratio: np.ndarray, value: np.ndarray) -> None:
    for j in range(theta.shape[0]):
        value[j] = -theta[j] * log_ratio[j]


@compiled
def _inflate(dropout: np.ndarray, value: np.ndarray, weight: np.ndarray, slope: np.ndarray, free: np.ndarray) -> None:
    """Log P(0) of the NB to that of the ZINB; weight: its slope in log P(0) of the NB; slope: in the dropout logit.

    Several loops, none from an array to itself: only of such does the compiler make vector instructions. free: for use
    here.
    """
    difference(value, dropout, free)
    sigmoid_row(ONE, free, weight)
    softplus_row(ONE, free, value)
    softplus_row(-ONE, dropout, free)
    subtract(value, free)
    sigmoid_row(-ONE, dropout, slope)
    subtract(slope, weight)


@compiled
def _through_softmax(weight: Number, slope: np.ndarray, share: np.ndarray, factor: Number, out: np.ndarray) -> None:
    for j in range(share.shape[0]):
        out[j] = weight * (slope[j] - share[j] * factor)


@compiled
def _entries(
    kind: int,
    cell: tuple[Number, Number, Number],
    logits: np.ndarray,
    share: np.ndarray,
    log_ratio: np.ndarray,
    theta: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    gene: np.ndarray,
    count: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    d_theta: np.ndarray,
) -> None:
    """Put right what the rows say of the counts that are not zero; sums in float64, as they cancel.

    cell: log library, log of the sum of exp(logits), library over sum of shares. d_theta: as long as theta, or empty.
    """
    log_library, log_total, scale = cell
    for k in range(gene.shape[0]):
        j, x = gene[k], count[k]
        log_mu = np.float64(logits[j]) - log_total + log_library
        if logits[j] == -np.inf:
            continue
        mu = np.float64(share[j] * scale) if x <= LARGE else math.exp(log_mu)
        if kind == POISSON:
            value[j], slope[j] = x * log_mu - mu - log_factorial(x), x - mu
            continue
        t = np.float64(theta[j])
        logs, shares = _sums(x, t, j, tables)
        log = np.float64(log_ratio[j]) if x <= LARGE else math.log1p(mu / t)
        value[j] = logs + x * (log_mu - log) - log_factorial(x) - t * log
        slope[j] = (x - mu) * (t / (t + mu))
        if d_theta.shape[0]:
            d_theta[j] = shares - slope[j] - t * log


@compiled
def _sums(x: Number, theta: Number, gene: int, tables: tuple[np.ndarray, np.ndarray]) -> tuple[Number, Number]:
    """The two sums of `rising_table` for any count."""
    if x == 1:  # most of them
        return 0.0, 1.0
    k = int(min(x, TABLE))
    if tables[0].shape[0]:
        logs, shares = np.float64(tables[0][k, gene]), np.float64(tables[1][k, gene])
    else:
        logs, shares = _rising(k, theta)
    if x > TABLE:
        more_logs, more_shares = _beyond_table(x, theta)
        logs, shares = logs + more_logs, shares + more_shares
    return logs, shares


@compiled
def _drop_out(logits: np.ndarray, dropout: np.ndarray, gene: np.ndarray, value: np.ndarray, slope: np.ndarray) -> None:
    """A count that is not zero came past the dropout."""
    for k in range(gene.shape[0]):
        j = gene[k]
        if logits[j] != -np.inf:
            value[j] -= softplus(dropout[j])
            slope[j] = -sigmoid(dropout[j])


@compiled
def count_rows(
    kind: int,
    part: int,
    first: int,
    last: int,
    logits: np.ndarray,
    top: np.ndarray,
    log_library: np.ndarray,
    theta: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    dropout: np.ndarray,
    entries: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights: np.ndarray,
    result: np.ndarray,
    slopes: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Log probability of the cells first to last - 1, and slopes of their sum with `weights` (n,).

    logits, dropout: (n, g); a logit of -inf is a gene that was not measured. top: (n,) largest logits. theta: (n, g),
    or (1, g) with the tables of `rising_table`. entries: where each cell's begin, flat positions, counts. slopes: in
    the logits, log theta and dropout, (n, g) each; but by tables, those in log theta are added to row `part` of (parts,
    g). What is not used or not wanted has no rows.
    """
    g = logits.shape[1]
    rows = np.empty((8, g), np.float32)
    share, log_ratio, value, slope = rows[0], rows[1], rows[2], rows[3]
    inflation, free, d_drop, d_own = rows[4], rows[5], rows[6], rows[7]
    d_logits, d_theta, d_dropout = slopes
    if not d_theta.shape[0]:
        d_own = d_own[:0]
    for i in range(first, last):
        exponentials(logits[i], top[i], share)
        total = row_sum(share)
        scale = np.float32(math.exp(log_library[i]) / total)
        own = theta[i if theta.shape[0] > 1 else 0]
        if kind == POISSON:
            _poisson_zeros(share, scale, value, slope)
        else:
            _nb_zeros(share, scale, own, log_ratio, slope)
            _nb_values(own, log_ratio, value)
            difference(value[: d_own.shape[0]], slope, d_own)
        if kind == ZINB:
            _inflate(dropout[i], value, inflation, d_drop, free)
            multiply(inflation, slope)
            multiply(inflation[: d_own.shape[0]], d_own)
        begin, end = entries[0][i], entries[0][i + 1]
        gene, count = entries[1][begin:end] - i * g, entries[2][begin:end]
        cell = (np.float64(log_library[i]), np.float64(top[i]) + math.log(np.float64(total)), scale)
        _entries(kind, cell, logits[i], share, log_ratio, own, tables, gene, count, value, slope, d_own)
        if kind == ZINB:
            _drop_out(logits[i], dropout[i], gene, value, d_drop)
        result[i] = row_sum(value)
        if d_logits.shape[0]:
            _through_softmax(weights[i], slope, share, np.float32(row_sum(slope) / total), d_logits[i])
        if d_theta.shape[0] and tables[0].shape[0]:
            add_scaled(weights[i], d_own, d_theta[part])
        elif d_theta.shape[0]:
            scaled(weights[i], d_own, d_theta[i])
        if d_dropout.shape[0]:
            scaled(weights[i], d_drop, d_dropout[i])
