"""What the embedding of held-out cells is like, in four numbers; while a model trains, on its validation cells.

They choose nothing: the checkpoint is the one with the lowest loss. Each is a function of the embedding alone (means,
no samples), so that looking changes no bit of a training. Where labels are not in the Cell Ontology, or there are no
labels or batches, the numbers that need them are left out, and the log says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import numpy as np
import torch

from sclamp.core.ranks import average_ranks
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut
from sclamp.evaluate.lineage import Lineage
from sclamp.evaluate.measure import Unscorable
from sclamp.evaluate.probe import fit_probe
from sclamp.models.base import Model

MOST_PROBED = 20_000
"""Cells from which the classifier learns and on which it is tested, together; evenly spread where there are more."""

UNDEFINED = {"classifier_error_distance": "the classifier makes no error between labels at a known distance"}
"""Number -> what it means that its value is NaN, where that is no fault."""


class Monitor:
    """Looks at the embedding of some cells.

    names: of the numbers that these cells have. left_out: number -> why they have none. notes: labels without a term.
    """

    def __init__(
        self,
        batches: Batches,
        rows: np.ndarray,
        label_names: Sequence[str],
        terms: Mapping[str, str | None] | None = None,
    ) -> None:
        """rows: of the cells in the inputs of `batches`. label_names: of the label codes. terms: see `Lineage`."""
        self._batches, self._rows = batches, rows
        self._batch, self._label = batches.inputs.batch[rows], batches.inputs.label[rows]
        self._first, self._second = _halves(self._label)
        lineage = Lineage(label_names if (self._label >= 0).any() else (), terms)
        self._distances, self.notes = lineage.distances, lineage.notes
        problems = self._problems()
        self.left_out = {name: why for name, why in problems.items() if why}
        self.names = tuple(name for name, why in problems.items() if not why)

    def _problems(self) -> dict[str, str]:
        """All numbers, and why these cells have none of them; empty where they have."""
        present = np.unique(self._label[self._label >= 0])
        apart = self._distances[np.ix_(present, present)][np.triu_indices(len(present), 1)]
        n_pairs, n_batches = np.isfinite(apart).sum(), len(np.unique(self._batch[self._batch >= 0]))
        learns = len(np.unique(self._label[self._first])) > 1 and len(self._second) > 0
        too_few = "" if learns else "fewer than two labels have enough cells"
        unrelated = "labels have a distance in the Cell Ontology"
        return {
            "ontology_spearman": "" if n_pairs > 1 else f"fewer than two pairs of {unrelated}",
            "batch_silhouette": "" if n_batches > 1 else "fewer than two batches are known",
            "classifier_accuracy": too_few,
            "classifier_error_distance": too_few or ("" if n_pairs else f"no two {unrelated}"),
        }

    @classmethod
    def of_model(cls, model: Model, batches: Batches, rows: np.ndarray) -> Monitor:
        """A monitor of some cells with the labels of a model, and with its `label_terms` where it has that setting."""
        return cls(batches, rows, model.data.labels, getattr(model.settings, "label_terms", None))

    def tell(self, say: Callable[[str], None]) -> None:
        """Say which labels have no term, and which numbers are left out."""
        for note in self.notes:
            say(f"monitor: {note}")
        for name, why in self.left_out.items():
            say(f"monitor: {name} is left out: {why}")

    def look_at(self, model: Model) -> dict[str, float]:
        """The numbers for the cells as `model`, in evaluation mode, embeds them; NaN for one that is not defined."""
        parts = []
        with torch.no_grad(), closing(self._batches.of(cut(self._rows, EVALUATION_ROWS))) as stream:
            for batch in stream:
                parts.append(model.embed_cells(batch).float().cpu().numpy())
        return self.of(np.concatenate(parts).astype(np.float64))

    def of(self, points: np.ndarray) -> dict[str, float]:
        """The numbers for an embedding (cells, k) of the cells."""
        if not np.isfinite(points).all():
            return dict.fromkeys(self.names, float("nan"))
        labelled, known = self._label >= 0, self._batch >= 0
        found: dict[str, Callable[[], float]] = {
            "ontology_spearman": lambda: ontology_spearman(points[labelled], self._label[labelled], self._distances),
            "batch_silhouette": lambda: batch_silhouette(points[known], self._batch[known]),
        }
        values = {name: compute() for name, compute in found.items() if name in self.names}
        if "classifier_accuracy" in self.names:
            accuracy, distance = self._classified(points)
            values |= {"classifier_accuracy": accuracy, "classifier_error_distance": distance}
        return {name: values[name] for name in self.names}

    def _classified(self, points: np.ndarray) -> tuple[float, float]:
        """Accuracy of a softmax regression in the second half of the cells, and how far off its errors are."""
        truth = self._label[self._second]
        try:
            guess = fit_probe(points[self._first], self._label[self._first]).predict(points[self._second])
        except Unscorable:
            return float("nan"), float("nan")
        return float((truth == guess).mean()), error_distance(truth, guess, self._distances)


def ontology_spearman(points: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> float:
    """Whether labels that are close in the ontology lie close in the embedding.

    Correlation of the ranks of the distances between label centroids with the ranks of their distances in the ontology,
    over pairs of labels at a finite distance, each weighted with the product of the two labels' cells.
    labels (n,): codes. distances (c, c): between codes, infinite where there is none.
    """
    present, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    centroids = _centroids(points, codes, sizes)
    one, other = np.triu_indices(len(present), 1)
    apart = distances[present[one], present[other]]
    there = np.isfinite(apart)
    one, other, apart = one[there], other[there], apart[there]
    gaps = np.linalg.norm(centroids[one] - centroids[other], axis=1)
    weights = sizes[one] * sizes[other] / max(float((sizes[one] * sizes[other]).sum()), 1.0)
    x, y = (ranks - weights @ ranks for ranks in (average_ranks(gaps), average_ranks(apart)))
    spread = np.sqrt((weights @ x**2) * (weights @ y**2))
    return float(weights @ (x * y) / spread) if spread > 0 else float("nan")


def batch_silhouette(points: np.ndarray, batches: np.ndarray) -> float:
    """How far apart batches are, by their centroids: 1 far apart, near -1 on top of each other.

    Mean over cells of (b - a) / max(a, b) of their batch: a is the root mean squared distance of the batch's cells from
    their centroid, b the distance to the nearest other centroid.
    """
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    centroids = _centroids(points, codes, sizes)
    from_own = np.bincount(codes, np.square(points - centroids[codes]).sum(axis=1)) / sizes
    within = np.sqrt(from_own)
    gaps = np.linalg.norm(centroids[:, None] - centroids[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    between = gaps.min(axis=1)
    largest = np.maximum(within, between)
    widths = np.divide(between - within, largest, out=np.zeros_like(within), where=largest > 0)
    return float(sizes @ widths / sizes.sum())


def error_distance(truth: np.ndarray, guess: np.ndarray, distances: np.ndarray) -> float:
    """Mean distance between true and predicted codes (n,) over errors at a finite distance; NaN without any."""
    apart = distances[truth, guess][truth != guess]
    apart = apart[np.isfinite(apart)]
    return float(apart.mean()) if len(apart) else float("nan")


def _centroids(points: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    sums = np.zeros((len(sizes), points.shape[1]))
    np.add.at(sums, codes, points)
    return sums / sizes[:, None]


def _halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labelled cells dealt into two halves, in turn within each label: the first teach, the second test."""
    rows = np.flatnonzero(labels >= 0)
    if len(rows) > MOST_PROBED:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PROBED).astype(np.int64)]
    turn = np.zeros(len(rows), dtype=np.int64)
    for label in np.unique(labels[rows]):
        own = labels[rows] == label
        turn[own] = np.arange(own.sum()) % 2
    return rows[turn == 0], rows[turn == 1]
