"""A score as a function of how often each cell is counted, so that a resample of the cells costs no new search."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

Weighted = Callable[[np.ndarray], float]


class Statistic:
    """A score of n cells whose fitted parts (neighbours, clusters, probes) stay as they are."""

    def __init__(self, compute: Weighted, n_cells: int, resamples: bool = True) -> None:
        """compute: weights (n,) float64 -> the score, NaN where the drawn cells have none.

        resamples: False where a score has no such function; `compute` then ignores its weights.
        """
        self._compute, self.n_cells, self.resamples = compute, n_cells, resamples
        self._last: tuple[np.ndarray | None, float] = (None, float("nan"))

    @cached_property
    def value(self) -> float:
        """The score: each cell counts once."""
        return self._compute(np.ones(self.n_cells))

    def of(self, weights: np.ndarray) -> float:
        """The score where each cell is drawn as often as `weights` (n,) say, which nobody changes afterwards.

        Where no cell is drawn that the score speaks of (a label of few cells), it is the score itself.
        """
        if self._last[0] is not weights:  # sums of scores ask for what their parts have just been asked
            found = self._compute(weights)
            self._last = weights, self.value if np.isnan(found) else found
        return self._last[1]


def fixed(value: float, n_cells: int) -> Statistic:
    """A score without a weighted form."""
    return Statistic(lambda _: value, n_cells, resamples=False)


def ratio(part: float, whole: float) -> float:
    """Part / whole; NaN where nothing was drawn."""
    return float(part / whole) if whole > 0 else float("nan")


def mean_of(values: np.ndarray) -> Statistic:
    """The mean of the values (n,) of the drawn cells; cells whose value is NaN have none."""
    known = ~np.isnan(values)
    filled, mask = np.where(known, values, 0.0), known.astype(np.float64)
    return Statistic(lambda weights: ratio(float(weights @ filled), float(weights @ mask)), len(values))


def median_of(values: np.ndarray, scale: Callable[[float], float] = float) -> Statistic:
    """A function of the median of the values (n,): what numpy's median says of the drawn cells, repeated as drawn."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]

    def median(weights: np.ndarray) -> float:
        drawn = weights[order].cumsum()
        if drawn[-1] <= 0:
            return float("nan")
        middle = np.floor(np.array([drawn[-1] - 1, drawn[-1]]) / 2)  # the two middle places; one for odd numbers
        return scale(float(ascending[np.searchsorted(drawn, middle, side="right")].mean()))

    return Statistic(median, len(values))


def mean_over_groups(values: np.ndarray, groups: np.ndarray) -> Statistic:
    """The mean over groups of the mean over a group's drawn cells.

    values (n,): NaN for cells that do not count. groups (n,): codes 0..; a group of which no cell is drawn is left out.
    """
    known = np.flatnonzero(~np.isnan(values))
    filled, codes = values[known], groups[known]

    def mean(weights: np.ndarray) -> float:
        drawn = weights[known]
        sizes = np.bincount(codes, drawn)
        present = sizes > 0
        if not present.any():
            return float("nan")
        return float((np.bincount(codes, drawn * filled)[present] / sizes[present]).mean())

    return Statistic(mean, len(values))


def scattered(values: np.ndarray, rows: np.ndarray, n_cells: int) -> np.ndarray:
    """Values of some cells in an array of all of them, NaN elsewhere."""
    placed = np.full(n_cells, np.nan)
    placed[rows] = values
    return placed


def on_rows(statistic: Statistic, rows: np.ndarray, n_cells: int) -> Statistic:
    """A statistic of some cells as one of all n: the weights of the others do not matter."""
    return Statistic(lambda weights: statistic.of(weights[rows]), n_cells, statistic.resamples)
