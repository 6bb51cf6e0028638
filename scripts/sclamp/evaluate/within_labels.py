"""How far the batches of one label are apart: silhouettes of batches within each label, cell by cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sclamp.evaluate.measure import NotApplicable, Unscorable
from sclamp.evaluate.silhouette import silhouette_widths

Widths = Callable[[np.ndarray, np.ndarray], np.ndarray]


def batch_mixing(points: np.ndarray, labels: np.ndarray, batches: np.ndarray, widths: Widths) -> np.ndarray:
    """1 - |silhouette| of each cell with respect to the batches of its label, (n,).

    NaN for cells of labels with one batch, or of which every cell is a batch of its own. widths: (points, codes) ->
    silhouettes.
    """
    values = np.full(len(points), np.nan)
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        found, codes = np.unique(batches[cells], return_inverse=True)
        if 1 < len(found) < len(cells):
            values[cells] = 1 - np.abs(widths(points[cells], codes))
    if np.isnan(values).all():
        raise NotApplicable("no label has cells of two batches, with two cells of one")
    return values


def silhouette_mixing(points: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """`batch_mixing` by euclidean distances to the nearest other batch: scIB's batch ASW before its means."""
    return batch_mixing(points, labels, batches, silhouette_widths)


def bras_mixing(points: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """`batch_mixing` by cosine distances to all cells of other batches: BRAS before its means.

    Rautenstrauch & Ohler 2025.
    """
    lengths = np.linalg.norm(points, axis=1)
    if (lengths == 0).any():
        raise Unscorable(f"{(lengths == 0).sum()} of {len(points)} cells are the zero vector, which has no direction")
    return batch_mixing(points / lengths[:, None], labels, batches, _cosine_widths)


def _cosine_widths(directions: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Silhouettes of cells of length 1; the sum of 1 - x.y over cells y of a batch needs their sum only."""
    sizes = np.bincount(batches)
    member = np.zeros((len(directions), len(sizes)))
    member[np.arange(len(directions)), batches] = 1
    sums = sizes - directions @ (member.T @ directions).T
    own, n_own = sums[np.arange(len(directions)), batches], sizes[batches]
    within = np.maximum(own, 0) / np.maximum(n_own - 1, 1)
    between = np.maximum(sums.sum(axis=1) - own, 0) / (len(directions) - n_own)
    largest = np.maximum(within, between)
    return np.where(n_own == 1, 0.0, (between - within) / np.where(largest > 0, largest, 1))
