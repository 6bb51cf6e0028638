"""How far a mean over seeds can be trusted: noise of the seeds and noise of the cells.

variance of the mean = (variance over seeds) / seeds + variance, over resamples of the cells, of the mean over seeds.
The two add up because training noise is drawn anew for each seed and the cells are the same for all. What a resample
does differently to each seed is in both terms, which makes intervals wider than needed, never narrower.
Each term alone would have Student's t of its own degrees of freedom (seeds - 1, resamples - 1); together, the tails of
both are averaged, weighted by the terms' shares of the variance (as Cochran and Cox, 1950, weigh the quantiles).
With 2 to 5 seeds this comes closer to 95% than degrees of freedom by Welch and Satterthwaite (docs/statistics.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
ROUNDING = 1e-12
"""Differences below this, relative to the values, are no noise but rounding."""
HALVINGS = 60


class Estimate(NamedTuple):
    """Means over seeds and their noise, arrays of one shape; shifts has one axis more.

    seeds: how many have a value. std: over seeds, NaN below 2. shifts (..., b): resampled mean minus mean, NaN where
    there are no resamples. variance: of the mean, both noises, NaN where neither is known. share: of the seeds in it.
    resamples: how many have a value.
    """

    seeds: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    shifts: np.ndarray
    variance: np.ndarray
    share: np.ndarray
    resamples: np.ndarray

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the 95% interval of the mean; NaN where no noise is known."""
        quantiles = [stdtrit(freedom, 1 - TAIL) for freedom in self._freedoms()]
        low, high = np.minimum(*quantiles), np.maximum(*quantiles)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            outside = self._tails(middle) > 2 * TAIL
            low, high = np.where(outside, middle, low), np.where(outside, high, middle)
        half = high * np.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def p_values(self) -> np.ndarray:
        """Two-sided p of a mean of 0; NaN where no noise is known, or none was seen although the mean is not 0."""
        error = np.sqrt(self.variance)
        t = np.divide(np.abs(self.mean), error, out=np.full_like(error, np.nan), where=error > 0)
        return np.where((self.mean == 0) & (error == 0), 1.0, self._tails(t))

    def _freedoms(self) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(self.seeds - 1.0, 1), np.maximum(self.resamples - 1.0, 1)

    def _tails(self, t: np.ndarray) -> np.ndarray:
        """Probability of a mean further from 0 than t standard errors, on either side."""
        of_seeds, of_cells = (2 * stdtr(freedom, -t) for freedom in self._freedoms())
        return self.share * of_seeds + (1 - self.share) * of_cells


def estimate(values: np.ndarray, deviations: np.ndarray) -> Estimate:
    """Mean over seeds of values (..., s), with noise of the cells from deviations (..., s, b); NaN: missing.

    Seeds without resamples are left out of the cells' noise.
    """
    there = ~np.isnan(values)
    seeds, mean, spread = _moments(values)
    shifts = _mean_shifts(there, deviations)
    resamples, _, of_cells = _moments(shifts)
    rounding = ROUNDING * np.maximum(1, np.abs(np.where(there, values, 0)).max(axis=-1, initial=0))
    mean = np.where(np.abs(mean) < rounding, 0, mean)
    of_seeds = spread / np.maximum(seeds, 1)
    known = ~np.isnan(of_seeds) | ~np.isnan(of_cells)
    parts = [np.where(part < rounding**2, 0, np.nan_to_num(part)) for part in (of_seeds, of_cells)]
    variance = parts[0] + parts[1]
    share = np.divide(parts[0], variance, out=np.zeros_like(variance), where=variance > 0)
    return Estimate(seeds, mean, np.sqrt(spread), shifts, np.where(known, variance, np.nan), share, resamples)


def _mean_shifts(there: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Means over the seeds that are there and have resamples (..., b)."""
    has = there & (~np.isnan(deviations)).any(axis=-1)
    count = has.sum(axis=-1)[..., None]
    total = np.where(has[..., None], deviations, 0).sum(axis=-2)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, mean and unbiased variance of what is not NaN on the last axis; NaN where there are too few."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0).sum(axis=-1)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    squares = np.square(np.where(there, values - mean[..., None], 0)).sum(axis=-1)
    return count, mean, np.divide(squares, count - 1, out=np.full(count.shape, np.nan), where=count > 1)
