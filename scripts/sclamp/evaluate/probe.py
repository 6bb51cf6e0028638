"""Linear probes: what a multinomial logistic regression reads from an embedding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sclamp.evaluate.measure import NotApplicable, Unscorable

MAX_STEPS = 1000


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


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of cells predicted right."""
    return float((truth == predicted).mean())


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Unweighted mean of F1 over the classes that occur in the truth or the prediction."""
    scores = []
    for value in np.union1d(truth, predicted):
        true, said = truth == value, predicted == value
        scores.append(2 * (true & said).sum() / (true.sum() + said.sum()))
    return float(np.mean(scores))


def held_out_prediction(
    points: np.ndarray, targets: np.ndarray, train: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on the cells of mask `train`, predict those of mask `score`: (truth, prediction)."""
    if len(np.unique(targets[train])) < 2:
        raise NotApplicable(f"the {train.sum()} training cells do not have two classes")
    if not score.any():
        raise NotApplicable("there are no cells to score")
    return targets[score], fit_probe(points[train], targets[train]).predict(points[score])


def leave_one_batch_out(points: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> tuple[float, float]:
    """Fit label probes on all batches but one, score on that one: mean accuracy and macro F1 over batches.

    A batch whose complement has a single label is left out. Cells of a label that only the left-out batch has count
    as errors: the embedding is asked to carry over what other batches teach.
    """
    scores = []
    for batch in np.unique(batches):
        left_out = batches == batch
        if len(np.unique(labels[~left_out])) > 1:
            truth, predicted = held_out_prediction(points, labels, ~left_out, left_out)
            scores.append((accuracy(truth, predicted), macro_f1(truth, predicted)))
    if not scores:
        raise NotApplicable("without any one of the batches a single label remains")
    mean_accuracy, mean_f1 = np.mean(scores, axis=0)
    return float(mean_accuracy), float(mean_f1)
