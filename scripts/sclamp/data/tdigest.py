"""Sketches of distributions that can be merged: t-digests (Dunning & Ertl 2019), for all genes at once.

A digest keeps the sorted values of a gene as weighted means of neighbours (centroids): narrow ones at both ends, wider
ones in the middle. Up to `size` values are kept as they are, so that quantiles of few values are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MOST_GENES = 2**17
"""Genes that are handled at a time."""
AT_A_TIME = 2_000_000
"""Values or centroids that digests are made of at a time, for the sake of memory."""


@dataclass(frozen=True)
class Digests:
    """Centroids of all genes, one gene after the other, sorted within a gene.

    means, weights (m,) float64: value and number of counts of each centroid. starts (genes + 1,) int64: where each
    gene's centroids begin.
    """

    means: np.ndarray
    weights: np.ndarray
    starts: np.ndarray

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Values of each gene, (genes,)."""
        return _sums(self.weights, self.starts)

    @property
    def whole(self) -> np.ndarray:
        """Mask of the genes all of whose values are kept, (genes,)."""
        return self.sizes == np.diff(self.starts)

    def of(self, first: int, last: int) -> Digests:
        """The genes first to last - 1."""
        here = slice(self.starts[first], self.starts[last])
        return Digests(self.means[here], self.weights[here], self.starts[first : last + 1] - self.starts[first])

    def quantiles(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """The value below which a share of each gene's values lies, and its error, both (genes,); NaN without values.

        Between the middles of neighbouring centroids values are interpolated (as numpy does between values). The error
        is a share of the values, 0 for genes that are kept whole: half of what the two centroids hold.
        """
        found, error = np.full(self.n_genes, np.nan), np.full(self.n_genes, np.nan)
        sizes, genes = self.sizes, np.flatnonzero(np.diff(self.starts))
        if not len(genes):
            return found, error
        ends = np.cumsum(self.weights)
        before = np.concatenate([[0.0], np.cumsum(sizes)])[genes]
        middles = ends - 0.5 * self.weights - 0.5
        wanted = before + share * (sizes[genes] - 1)
        first, last = self.starts[genes], self.starts[genes + 1] - 1
        left = np.clip(np.searchsorted(middles, wanted, side="right") - 1, first, last)
        right = np.minimum(left + 1, last)
        step = middles[right] - middles[left]
        along = np.clip(np.where(step > 0, (wanted - middles[left]) / np.where(step > 0, step, 1.0), 0.0), 0.0, 1.0)
        found[genes] = self.means[left] + along * (self.means[right] - self.means[left])
        held = (self.weights[left] + self.weights[right]) / (2 * sizes[genes])
        error[genes] = np.where(self.whole[genes], 0.0, held)
        return found, error


def empty(n_genes: int) -> Digests:
    """Digests without values."""
    return Digests(np.empty(0), np.empty(0), np.zeros(n_genes + 1, dtype=np.int64))


def of_sorted(values: np.ndarray, starts: np.ndarray, size: int) -> Digests:
    """Digests of values that are sorted within each gene; starts (genes + 1,): where each gene's values begin."""
    return _compressed(values, np.ones(len(values)), np.asarray(starts, dtype=np.int64), size)


def merged(parts: Sequence[Digests], size: int) -> Digests:
    """Digests of all values of several parts, which have the same genes in the same order."""
    points = np.sum([np.diff(part.starts) for part in parts], axis=0)
    ranges = gene_ranges(points, AT_A_TIME)
    return in_a_row([_merged([part.of(first, last) for part in parts], size) for first, last in ranges])


def _merged(parts: Sequence[Digests], size: int) -> Digests:
    genes = np.concatenate([np.repeat(np.arange(part.n_genes), np.diff(part.starts)) for part in parts])
    means = np.concatenate([part.means for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    order = np.lexsort((weights, means, genes))  # equal centroids in any order give the same bytes
    starts = np.sum([part.starts for part in parts], axis=0)
    return _compressed(means[order], weights[order], starts, size)


def in_a_row(parts: Sequence[Digests]) -> Digests:
    """Digests of the genes of one part after those of the other."""
    if not parts:
        return empty(0)
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Digests(
        np.concatenate([part.means for part in parts]), np.concatenate([part.weights for part in parts]), starts
    )


def gene_ranges(sizes: np.ndarray, capacity: int) -> Iterator[tuple[int, int]]:
    """Neighbouring genes with at most so many values together: first, last + 1."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + capacity, side="right"))
        last = min(max(last, first + 1), first + MOST_GENES)
        yield first, last
        first = last


def _compressed(means: np.ndarray, weights: np.ndarray, starts: np.ndarray, size: int) -> Digests:
    """Join neighbours that fall into one of `size` steps of the scale function k1 = size / pi x asin(2 q - 1).

    The smallest and the largest value of a gene stay alone, and so do all values of genes with at most `size`.
    """
    lengths = np.diff(starts)
    genes = np.repeat(np.arange(len(lengths)), lengths)
    totals = _sums(weights, starts)
    before = np.concatenate([[0.0], np.cumsum(totals)])[genes]
    share = (np.cumsum(weights) - 0.5 * weights - before) / totals[genes]
    step = np.floor(size * (np.arcsin(np.clip(2 * share - 1, -1, 1)) / np.pi + 0.5)).astype(np.int64)
    some = lengths > 0
    step[starts[:-1][some]] = -1
    step[starts[1:][some] - 1] = size + 1
    begins = np.ones(len(means), dtype=bool)
    begins[1:] = (genes[1:] != genes[:-1]) | (step[1:] != step[:-1]) | (lengths[genes[1:]] <= size)
    firsts = np.flatnonzero(begins)
    if not len(firsts):
        return empty(len(lengths))
    joined = np.add.reduceat(weights, firsts)
    centres = np.add.reduceat(means * weights, firsts) / joined
    alone = np.diff(np.append(firsts, len(means))) == 1
    centres[alone] = means[firsts[alone]]  # not means * weights / weights
    kept = np.concatenate([[0], np.cumsum(np.bincount(genes[firsts], minlength=len(lengths)))])
    return Digests(centres, joined, kept.astype(np.int64))


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums within each gene, 0 for genes without values; exact for whole numbers."""
    ends = np.concatenate([[0.0], np.cumsum(values)])
    return ends[starts[1:]] - ends[starts[:-1]]
