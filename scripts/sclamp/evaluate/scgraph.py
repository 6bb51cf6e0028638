"""scGraph: whether the embedding keeps how far cell types are apart within batches (Wang, Leskovec & Regev 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sclamp.evaluate.measure import NotApplicable

TRIMMED = 0.05
LEAST_OF_LABEL, LEAST_OF_BATCH = 10, 100
LEAST_LABELS = 3


class Consensus(NamedTuple):
    """Distances between labels, agreed on by the batches.

    labels: names. distances (l, l): each column divided by its largest; NaN for labels that share no batch.
    """

    labels: tuple[str, ...]
    distances: np.ndarray


def trimmed_means(points: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Mean of each label and dimension without the lowest and highest 5% of the values, (l, d); NaN for no cells."""
    means = np.full((n_labels, points.shape[1]), np.nan)
    for label in np.unique(labels):
        ascending = np.sort(points[labels == label], axis=0)
        cut = int(TRIMMED * len(ascending))
        means[label] = ascending[cut : len(ascending) - cut].mean(axis=0)
    return means


def relative_distances(centres: np.ndarray) -> np.ndarray:
    """Euclidean distances between centres (l, d), each column divided by its largest; NaN where there is none."""
    squared = np.square(centres[:, None] - centres[None]).sum(axis=2)
    return _relative(np.sqrt(squared))


def _relative(distances: np.ndarray) -> np.ndarray:
    largest = np.where(np.isnan(distances), 0, distances).max(axis=0)
    return distances / np.where(largest > 0, largest, np.nan)


def consensus(by_batch: Mapping[str, np.ndarray], labels: tuple[str, ...]) -> Consensus:
    """Average the relative distances (l, l) of the batches, where a batch has both labels."""
    stack = np.stack(list(by_batch.values()))
    known = ~np.isnan(stack)
    times = known.sum(axis=0)
    mean = np.where(known, stack, 0).sum(axis=0) / np.where(times > 0, times, np.nan)
    return Consensus(labels, _relative(mean))


def scgraph(points: np.ndarray, labels: np.ndarray, names: tuple[str, ...], agreed: Consensus) -> float:
    """Mean over labels of the weighted correlation of its distances in the embedding and in the consensus.

    points (n, d); labels (n,): codes of names. Weights are 1 / distance in the consensus: near labels count most.
    Labels with fewer than 10 of the cells are left out.
    """
    sizes = np.bincount(labels, minlength=len(names))
    used = [name for code, name in enumerate(names) if sizes[code] >= LEAST_OF_LABEL and name in agreed.labels]
    if len(used) < LEAST_LABELS:
        raise NotApplicable(
            f"{len(used)} labels have {LEAST_OF_LABEL} of the cells and a place in the batches of {LEAST_OF_BATCH} "
            f"cells; {LEAST_LABELS} are needed"
        )
    codes, places = [names.index(name) for name in used], [agreed.labels.index(name) for name in used]
    ours = relative_distances(trimmed_means(points, labels, len(names))[codes])
    correlations = _weighted_correlations(ours, agreed.distances[np.ix_(places, places)])
    defined = ~np.isnan(correlations)
    if not defined.any():
        raise NotApplicable("no label shares batches with two others")
    return float(correlations[defined].mean())


def _weighted_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each column of two (l, l), weighted by 1 / second; NaN where it has no variance."""
    found = np.full(len(first), np.nan)
    for column in range(len(first)):
        x, y = first[:, column], second[:, column]
        known = np.isfinite(x) & np.isfinite(y) & (y > 0)
        if known.sum() < 2:
            continue
        x, y, weights = x[known], y[known], 1 / y[known] / (1 / y[known]).sum()
        x, y = x - weights @ x, y - weights @ y
        spread = np.sqrt((weights @ x**2) * (weights @ y**2))
        if spread > 1e-12:
            found[column] = weights @ (x * y) / spread
    return found
