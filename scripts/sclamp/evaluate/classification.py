"""Scores of predicted labels on held-out cells: how often right, how far off, how well their probabilities hold.

Each is a function of how often each cell is counted, so that its interval is known (see `statistic`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate import partitions
from sclamp.evaluate.measure import Measured, NotApplicable, measure_statistic
from sclamp.evaluate.predictions import Scored
from sclamp.evaluate.replicates import Key
from sclamp.evaluate.resample import replicate
from sclamp.evaluate.rows import Row
from sclamp.evaluate.statistic import Statistic, mean_of, on_rows, ratio

TASK = "classification"
BINS = 15
"""Bins of equal width for the calibration error (Guo et al. 2017)."""
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""A label that was thought impossible counts as this probable: predictions are stored in single precision."""


class Metric(NamedTuple):
    """A score: how it is computed, and the function."""

    implementation: str
    compute: Callable[[Scored], Statistic]


def _accuracy(cells: Scored) -> Statistic:
    return mean_of((cells.truth == cells.predicted).astype(np.float64))


def _macro_f1(cells: Scored) -> Statistic:
    none = len(cells.names)  # cells without a prediction are a class of their own, which is never right
    return partitions.macro_f1(cells.truth, np.where(cells.predicted < 0, none, cells.predicted))


def _auroc(cells: Scored) -> Statistic:
    _demand_probabilities(cells)
    parts = []
    for code in np.flatnonzero(cells.known):
        own = cells.truth == code
        if own.any() and not own.all():
            parts.append(area_under_roc(cells.probabilities[:, code], own))
    if not parts:
        raise NotApplicable("no label that the model knows has both cells of it and other cells")

    def mean(weights: np.ndarray) -> float:
        values = np.array([part(weights) for part in parts])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    return Statistic(mean, len(cells.truth))


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], float]:
    """Chance that a positive cell scores higher than a negative one (ties count half), for any weights of the cells."""
    _, place = np.unique(scores, return_inverse=True)

    def area(weights: np.ndarray) -> float:
        of_positive = np.bincount(place, weights * positive)
        of_negative = np.bincount(place, weights * ~positive)
        lower = np.cumsum(of_negative) - of_negative
        return ratio(float(of_positive @ (lower + of_negative / 2)), float(of_positive.sum() * of_negative.sum()))

    return area


def _hierarchical_f1(cells: Scored) -> Statistic:
    lineage = cells.lineage
    has_term = np.array([term is not None for term in lineage.terms])
    if not has_term[cells.truth].any():
        raise NotApplicable(f"no true label has a term in the Cell Ontology{_first(lineage.notes)}")
    kinds = [*lineage.kinds, frozenset()]  # the last: no prediction
    shared = np.array([len(kinds[t] & kinds[p]) for t, p in zip(cells.truth, cells.predicted, strict=True)])
    sizes = np.array([len(kind) for kind in kinds])
    both = sizes[cells.truth] + sizes[cells.predicted]
    counts = has_term[cells.truth]

    def f1(weights: np.ndarray) -> float:
        used = weights * counts
        return ratio(2 * float(used @ shared), float(used @ both))

    return Statistic(f1, len(cells.truth))


def _error_distance(cells: Scored) -> Statistic:
    wrong = (cells.truth != cells.predicted) & (cells.predicted >= 0)
    if not wrong.any():
        raise NotApplicable("no cell has a wrong label")
    steps = cells.lineage.distances[cells.truth, cells.predicted]
    steps = np.where(wrong & np.isfinite(steps), steps, np.nan)
    if np.isnan(steps).all():
        raise NotApplicable(f"no error is between labels connected in the Cell Ontology{_first(cells.lineage.notes)}")
    return mean_of(steps)


def _top_accuracy(cells: Scored) -> Statistic:
    if cells.top is None:
        raise NotApplicable("the model lists no likeliest labels")
    truth = np.array(cells.names, dtype=object)[cells.truth]
    return mean_of((cells.top == truth[:, None]).any(axis=1).astype(np.float64))


def _ancestor_accuracy(cells: Scored) -> Statistic:
    right = np.where(np.isnan(_ancestors(cells)), 0.0, 1.0)
    has_term = np.array([term is not None for term in cells.lineage.terms])
    return mean_of(np.where(has_term[cells.truth], right, np.nan))


def _ancestor_distance(cells: Scored) -> Statistic:
    steps = _ancestors(cells)
    if np.isnan(steps).all():
        raise NotApplicable("no cell is of the term that is reported for it")
    return mean_of(steps)


def _ancestors(cells: Scored) -> np.ndarray:
    """Steps from each cell's label up to the term that the model reports; NaN where it is not above the label."""
    if cells.ancestors is None:
        raise NotApplicable("the model reports no terms of the Cell Ontology")
    if all(cells.lineage.terms[code] is None for code in np.unique(cells.truth)):
        raise NotApplicable(f"no true label has a term in the Cell Ontology{_first(cells.lineage.notes)}")
    pairs = list(zip(cells.truth.tolist(), cells.ancestors.tolist(), strict=True))
    steps = {pair: cells.lineage.steps_up(*pair) if pair[1] else float("nan") for pair in set(pairs)}
    return np.array([steps[pair] for pair in pairs])


def confidence_of(cells: Scored) -> np.ndarray:
    """Probability of each cell's predicted label, (n,); NaN for a cell without one."""
    found = cells.probabilities[np.arange(len(cells.truth)), cells.predicted]
    return np.where(cells.predicted >= 0, found, np.nan)


def bins_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each confidence (n,) out of `bins` of equal width; a bin holds its upper end."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _calibration_error(cells: Scored) -> Statistic:
    _demand_probabilities(cells)
    confidence = confidence_of(cells)
    said = np.isfinite(confidence)
    gap = np.where(said, (cells.truth == cells.predicted) - confidence, 0.0)
    bins = bins_of(np.where(said, confidence, 0.0), BINS)

    def error(weights: np.ndarray) -> float:
        return ratio(float(np.abs(np.bincount(bins, weights * gap)).sum()), float(weights @ said))

    return Statistic(error, len(cells.truth))


def _brier(cells: Scored) -> Statistic:
    _demand_distribution(cells)
    truth = np.eye(len(cells.names))[cells.truth]
    return mean_of(np.square(cells.probabilities - truth).sum(axis=1))


def _log_loss(cells: Scored) -> Statistic:
    _demand_distribution(cells)
    own = cells.probabilities[np.arange(len(cells.truth)), cells.truth]
    return mean_of(-np.log(np.maximum(own, LEAST_PROBABILITY)))


def _unseen_share(cells: Scored) -> Statistic:
    return mean_of((~cells.taught[cells.truth]).astype(np.float64))


def _first(notes: list[str]) -> str:
    return f": {notes[0]}" if notes else ""


def _demand_probabilities(cells: Scored) -> None:
    if not cells.known.any():
        raise NotApplicable("the model gives no probabilities of labels")


def _demand_distribution(cells: Scored) -> None:
    _demand_probabilities(cells)
    sums = cells.probabilities.sum(axis=1)
    if (np.abs(sums - 1) > 1e-3).any():
        raise NotApplicable("the probabilities of a cell do not sum to 1: its labels do not exclude one another")


METRICS = {
    "accuracy": Metric("share of the cells with the right label", _accuracy),
    "macro_f1": Metric("mean F1 over labels that are true or predicted", _macro_f1),
    "auroc": Metric("one label against the rest, ties count half; mean over labels that the model knows", _auroc),
    "hierarchical_f1": Metric(
        "labels with all their ancestors in the Cell Ontology but its root, summed over cells; Kiritchenko et al. 2006",
        _hierarchical_f1,
    ),
    "error_distance": Metric("mean steps in the Cell Ontology from the true to the predicted label", _error_distance),
    "top_accuracy": Metric("share of the cells whose label is among the likeliest that are listed", _top_accuracy),
    "ancestor_accuracy": Metric(
        "share of the cells that are of the reported term of the Cell Ontology", _ancestor_accuracy
    ),
    "ancestor_distance": Metric(
        "mean steps from the label up to the reported term, over cells that are of it; 0: nothing was left open",
        _ancestor_distance,
    ),
    "calibration_error": Metric(f"{BINS} bins of equal width, weighted by cells; Guo et al. 2017", _calibration_error),
    "brier": Metric("squared error of the probabilities, summed over labels; Brier 1950", _brier),
    "log_loss": Metric(f"natural logarithm; no probability below {LEAST_PROBABILITY:.2g}", _log_loss),
    "unseen_label_share": Metric("share of the cells whose label no training cell has", _unseen_share),
}
"""Score -> how it is computed. All but the last count a cell of a label that training did not see as an error."""

BY_TERMS = ("hierarchical_f1", "error_distance", "ancestor_accuracy", "ancestor_distance")
"""Scores that ask the Cell Ontology."""


class Classification(NamedTuple):
    """rows: the scores. replicates: key -> values over resampled cells, of the scores that have a value."""

    rows: list[Row]
    replicates: dict[Key, np.ndarray]


def score_classification(found: Scored | NotApplicable, settings: Evaluate) -> Classification:
    """All of `METRICS` on the cells to score; `found` may say why there are none.

    Resamples draw from all held-out cells, as for the scores of embeddings, so that they can be paired.
    """

    def compute(metric: Metric) -> Statistic:
        if isinstance(found, NotApplicable):
            raise found
        return on_rows(metric.compute(found), found.rows, found.n_held_out)

    measured: list[Measured] = [
        measure_statistic(name, metric.implementation + _scope(name, found), partial(compute, metric))
        for name, metric in METRICS.items()
    ]
    rows = [Row("held_out", TASK, one.score) for one in measured]
    if isinstance(found, NotApplicable):
        return Classification(rows, {})
    statistics: dict[Key, Statistic] = {
        ("held_out", TASK, one.score.metric): one.statistic for one in measured if one.statistic is not None
    }
    drawn = replicate(statistics, found.n_held_out, settings.bootstrap, settings.seed, "held_out")
    return Classification(rows, drawn)


def _scope(metric: str, found: Scored | NotApplicable) -> str:
    """Which cells and labels a score speaks of."""
    if isinstance(found, NotApplicable):
        return ""
    if metric not in BY_TERMS:
        return f"; {found.split} cells"
    true = np.unique(found.truth)
    n_terms = sum(found.lineage.terms[code] is not None for code in true)
    return f"; {found.split} cells, {n_terms} of {len(true)} labels have a term"


def remarks(found: Scored) -> list[str]:
    """What a reader of the scores should know: labels without a term, labels that training did not see."""
    unseen = [name for code, name in enumerate(found.names) if not found.taught[code] and (found.truth == code).any()]
    notes = list(found.lineage.notes)
    if unseen:
        n = int((~found.taught[found.truth]).sum())
        notes.append(
            f"no training cell has the label {', '.join(unseen)}: {n} of {len(found.truth)} cells count as errors"
        )
    return notes
