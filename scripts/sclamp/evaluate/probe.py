"""Linear probes: what a multinomial logistic regression reads from an embedding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sclamp.evaluate import partitions
from sclamp.evaluate.measure import NotApplicable, Unscorable
from sclamp.evaluate.statistic import Statistic, mean_of, mean_over_groups

MAX_STEPS = 1000
METHOD = "logistic regression, L2"


class Probe(NamedTuple):
    """A fitted regression.

    mean, scale (d,): of the training cells. weights (d, c), intercepts (c,): on the logit scale. classes (c,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray
    classes: np.ndarray

    def predict(self, points: np.ndarray) -> np.ndarray:
        """The most probable class of each cell."""
        return self.classes[((points - self.mean) / self.scale @ self.weights + self.intercepts).argmax(axis=1)]


def fit_probe(points: np.ndarray, targets: np.ndarray) -> Probe:
    """Fit a probe to (n, d) points and (n,) codes: softmax regression on standardised features.

    Minimises the summed cross-entropy plus half the squared weights (intercepts are free), as scikit-learn's
    LogisticRegression with C = 1, by L-BFGS.
    """
    from scipy.optimize import minimize

    mean, scale = points.mean(axis=0), points.std(axis=0)
    scale[scale == 0] = 1
    features = (points - mean) / scale
    classes, codes = np.unique(targets, return_inverse=True)
    n_cells, (width, n_classes) = len(codes), (points.shape[1], len(classes))
    truth = np.zeros((n_cells, n_classes))
    truth[np.arange(n_cells), codes] = 1

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat[:-n_classes].reshape(width, n_classes)
        logits = features @ weights + flat[-n_classes:]
        logits -= logits.max(axis=1, keepdims=True)
        with np.errstate(under="ignore"):
            odds = np.exp(logits)
        totals = odds.sum(axis=1)
        loss = np.log(totals).sum() - logits[np.arange(n_cells), codes].sum() + np.square(weights).sum() / 2
        residual = odds / totals[:, None] - truth
        gradient = np.concatenate([(features.T @ residual + weights).ravel(), residual.sum(axis=0)])
        return loss / n_cells, gradient / n_cells  # per cell, so that the tolerance does not depend on their number

    start = np.zeros((width + 1) * n_classes)
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "maxfun": 2 * MAX_STEPS, "gtol": 1e-6, "ftol": 1e-12},
    )
    if found.nit >= MAX_STEPS:
        raise Unscorable(f"the probe did not converge in {MAX_STEPS} steps")
    weights = found.x[:-n_classes].reshape(width, n_classes)
    return Probe(mean, scale, weights, found.x[-n_classes:], classes)


def held_out_prediction(
    points: np.ndarray, targets: np.ndarray, train: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on the cells of mask `train`, predict those of mask `score`: (truth, prediction)."""
    if len(np.unique(targets[train])) < 2:
        raise NotApplicable(f"the {train.sum()} training cells do not have two classes")
    if not score.any():
        raise NotApplicable("there are no cells to score")
    return targets[score], fit_probe(points[train], targets[train]).predict(points[score])


class LeftOut(NamedTuple):
    """Predictions for each cell from the cells of all other batches.

    truth, predicted (n,): codes. batches (n,). scored: the batches whose complement has two labels.
    """

    truth: np.ndarray
    predicted: np.ndarray
    batches: np.ndarray
    scored: np.ndarray

    def accuracy(self) -> Statistic:
        """Mean over batches of the share of its cells predicted right."""
        right = (self.truth == self.predicted).astype(np.float64)
        return mean_over_groups(np.where(np.isin(self.batches, self.scored), right, np.nan), self.batches)

    def macro_f1(self) -> Statistic:
        """Mean over batches of the macro F1 among its cells."""
        parts = []
        for batch in self.scored:
            rows = np.flatnonzero(self.batches == batch)
            parts.append((partitions.macro_f1(self.truth[rows], self.predicted[rows]), rows))

        def mean(weights: np.ndarray) -> float:
            values = np.array([part.of(weights[rows]) for part, rows in parts])
            drawn = ~np.isnan(values)
            return float(values[drawn].mean()) if drawn.any() else float("nan")

        return Statistic(mean, len(self.truth))


def leave_one_batch_out(points: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> LeftOut:
    """Fit label probes on all batches but one and predict that one, for each batch.

    A batch whose complement has a single label is left out. Cells of a label that only the left-out batch has count
    as errors: the embedding is asked to carry over what other batches teach.
    """
    predicted, scored = np.full(len(labels), -1), []
    for batch in np.unique(batches):
        left_out = batches == batch
        if len(np.unique(labels[~left_out])) > 1:
            predicted[left_out] = held_out_prediction(points, labels, ~left_out, left_out)[1]
            scored.append(batch)
    if not scored:
        raise NotApplicable("without any one of the batches a single label remains")
    return LeftOut(labels, predicted, batches, np.array(scored))


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Share of cells predicted right."""
    return mean_of((truth == predicted).astype(np.float64))
