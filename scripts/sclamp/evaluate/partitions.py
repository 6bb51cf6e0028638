"""Agreement of clusters and labels from a contingency table whose cells may be counted more than once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sclamp.evaluate.statistic import Statistic, ratio


class Table:
    """The contingency of two codings of the same n cells, for any weights of the cells."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        """first, second (n,): codes 0.. ."""
        self.shape = (int(first.max()) + 1, int(second.max()) + 1)
        self._flat = first * self.shape[1] + second

    def counts(self, weights: np.ndarray) -> np.ndarray:
        """(codes of first, codes of second) float64."""
        return np.bincount(self._flat, weights, self.shape[0] * self.shape[1]).reshape(self.shape)


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def nmi(table: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of the entropies; 1 for two partitions of one group each."""
    if not table.any():
        return float("nan")
    by_first, by_second = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    if by_first + by_second == 0:
        return 1.0
    return max(0.0, 2 * (by_first + by_second - _entropy(table)) / (by_first + by_second))


def ari(table: np.ndarray) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985)."""

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = ratio(first * second, pairs(table.sum(keepdims=True)))
    largest = (first + second) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def over_clusterings(
    score: Callable[[np.ndarray], float], labels: np.ndarray, clusterings: list[np.ndarray]
) -> Statistic:
    """The mean of a score of contingency tables over fixed clusterings."""
    tables = [Table(labels, clusters) for clusters in clusterings]
    return Statistic(lambda weights: float(np.mean([score(t.counts(weights)) for t in tables])), len(labels))


def isolated_f1(labels: np.ndarray, isolated: np.ndarray, clusterings: list[np.ndarray]) -> Statistic:
    """The mean over isolated labels of the best F1 of any cluster of any clustering as a prediction of the label."""
    tables = [Table(labels, clusters) for clusters in clusterings]

    def mean_best(weights: np.ndarray) -> float:
        best, drawn = np.zeros(len(isolated)), np.zeros(len(isolated))
        for table in (t.counts(weights) for t in tables):
            hits, drawn = table[isolated], table.sum(axis=1)[isolated]
            sizes = table.sum(axis=0) + drawn[:, None]
            best = np.maximum(best, (2 * hits / np.where(sizes > 0, sizes, 1)).max(axis=1))
        return ratio(best[drawn > 0].sum(), (drawn > 0).sum())

    return Statistic(mean_best, len(labels))


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> Statistic:
    """The unweighted mean of F1 over the classes that occur in the truth or the prediction (codes of one numbering)."""
    n_classes = int(max(truth.max(), predicted.max())) + 1
    flat = truth * n_classes + predicted

    def mean(weights: np.ndarray) -> float:
        table = np.bincount(flat, weights, n_classes**2).reshape(n_classes, n_classes)
        sizes = table.sum(axis=0) + table.sum(axis=1)
        occurs = sizes > 0
        return ratio((2 * np.diagonal(table)[occurs] / sizes[occurs]).sum(), occurs.sum())

    return Statistic(mean, len(truth))
