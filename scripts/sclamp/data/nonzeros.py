"""Quantiles of each gene's counts that are not zero: exact or sketched, in little memory.

Values are collected in one array of keys, gene above value, so that a single sort brings every gene's values together
and in order. A key holds 17 bits of the gene and 47 of the value, which is then right to 1e-11 of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sclamp.data import tdigest
from sclamp.data.tdigest import Digests

_VALUE_BITS = 47


class Values(NamedTuple):
    """Some values: the gene of each, and the value, float64 above 0."""

    genes: np.ndarray
    values: np.ndarray


Stream = Callable[[], Iterable[Values]]
"""Starts a pass over all values."""


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of each gene: values and errors (quantiles, genes), NaN without values. digests: None if not wanted.

    An error is a share of the gene's values (see `Digests.quantiles`), 0 for an exact quantile.
    """

    values: np.ndarray
    errors: np.ndarray
    digests: Digests | None


def n_passes(sizes: np.ndarray, memory: int) -> int | None:
    """Passes that exact quantiles take in so many bytes; None where one gene alone has too many values."""
    if sizes.max(initial=0) > memory // 8:
        return None
    return sum(1 for _ in tdigest.gene_ranges(sizes, memory // 8))


def exact(stream: Stream, sizes: np.ndarray, shares: np.ndarray, memory: int, digest: int) -> Quantiles:
    """Exact quantiles in `n_passes` passes. sizes (genes,): values of each gene. digest: size of digests, or 0."""
    found, parts = np.full((len(shares), len(sizes)), np.nan), []
    for first, last in tdigest.gene_ranges(sizes, memory // 8):
        keys = np.empty(int(sizes[first:last].sum()), dtype=np.uint64)
        n = 0
        for genes, values in stream():
            inside = (genes >= first) & (genes < last)
            part = _keys(genes[inside] - first, values[inside])
            keys[n : n + len(part)] = part
            n += len(part)
        keys.sort()
        starts = np.concatenate([[0], np.cumsum(sizes[first:last])]).astype(np.int64)
        found[:, first:last] = [_interpolated(keys, starts, share) for share in shares]
        if digest:
            parts.append(_digested(keys, starts, digest))
    errors = np.where(np.isnan(found), np.nan, 0.0)
    return Quantiles(found, errors, tdigest.in_a_row(parts) if digest else None)


def sketched(stream: Stream, sizes: np.ndarray, shares: np.ndarray, memory: int, digest: int) -> Quantiles:
    """Quantiles by digests of at most `digest` points, in one pass (one for every 131,072 genes)."""
    parts = []
    for first in range(0, len(sizes), tdigest.MOST_GENES):
        last = min(first + tdigest.MOST_GENES, len(sizes))
        found = tdigest.empty(last - first)
        for keys in _windows(stream, first, last, max(1, memory // 8)):
            keys.sort()
            borders = np.arange(last - first + 1, dtype=np.uint64) << np.uint64(_VALUE_BITS)
            starts = np.searchsorted(keys, borders[:-1])
            window = _digested(keys, np.append(starts, len(keys)), digest)
            found = tdigest.merged([found, window], digest)
        parts.append(found)
    return from_digests(tdigest.in_a_row(parts), shares)


def from_digests(digests: Digests, shares: np.ndarray) -> Quantiles:
    """Quantiles as far as digests know them."""
    found = [digests.quantiles(float(share)) for share in shares]
    return Quantiles(np.stack([value for value, _ in found]), np.stack([error for _, error in found]), digests)


def _windows(stream: Stream, first: int, last: int, capacity: int) -> Iterator[np.ndarray]:
    """Keys of the values of genes first to last - 1, so many at a time; each window is to be used before the next."""
    keys, n = np.empty(capacity, dtype=np.uint64), 0
    for genes, values in stream():
        inside = (genes >= first) & (genes < last)
        part = _keys(genes[inside] - first, values[inside])
        while len(part):
            taken, part = part[: capacity - n], part[capacity - n :]
            keys[n : n + len(taken)] = taken
            n += len(taken)
            if n == capacity:
                yield keys
                n = 0
    if n:
        yield keys[:n]


def _keys(genes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Numbers whose order is that of genes, then values; positive numbers sort as their bits do."""
    bits = values.astype(np.float64, copy=False).view(np.uint64) >> np.uint64(63 - _VALUE_BITS)
    return (genes.astype(np.uint64) << np.uint64(_VALUE_BITS)) | bits


def _values(keys: np.ndarray) -> np.ndarray:
    """The values in keys, in the middle of what a key stands for."""
    shift = np.uint64(63 - _VALUE_BITS)
    bits = (keys & np.uint64(2**_VALUE_BITS - 1)) << shift
    return (bits | np.uint64(2 ** (62 - _VALUE_BITS))).view(np.float64)


def _interpolated(keys: np.ndarray, starts: np.ndarray, share: float) -> np.ndarray:
    """Quantile of each gene's sorted values, as numpy's default has it."""
    sizes, found = np.diff(starts), np.full(len(starts) - 1, np.nan)
    some = sizes > 0
    place = share * (sizes[some] - 1)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, sizes[some] - 1)
    low, high = (_values(keys[starts[:-1][some] + at]) for at in (left, right))
    found[some] = low + (place - left) * (high - low)
    return found


def _digested(keys: np.ndarray, starts: np.ndarray, size: int) -> Digests:
    """Digests of sorted keys, made of some genes at a time for the sake of memory."""
    parts = []
    for first, last in tdigest.gene_ranges(np.diff(starts), tdigest.AT_A_TIME):
        values = _values(keys[starts[first] : starts[last]])
        parts.append(tdigest.of_sorted(values, starts[first : last + 1] - starts[first], size))
    return tdigest.in_a_row(parts)
