"""Intervals of scores: over seeds, over cells, and over both."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from sclamp.evaluate.blocks import Block
from sclamp.evaluate.noise import TAIL, Estimate, estimate

MOST_ENUMERATED = 7
"""Up to so many seeds the bootstrap over seeds is exact: all of its (at most 1716) distinct resamples."""
RESAMPLES = 2000
"""Random resamples of more seeds; always the same ones."""


def interval_table(block: Block) -> pd.DataFrame:
    """One row per score and model with a value: mean and std over seeds, and the three intervals.

    low_seeds, high_seeds: percentile bootstrap over seeds, NaN for one. low_cells, high_cells: percentiles of the
    resampled means over seeds, moved so that their mean is that of the scores. low, high: both noises
    (`sclamp.evaluate.noise`); for one seed only that of the cells.
    """
    found = estimate(block.values, block.deviations)
    score, model = np.nonzero(found.seeds)
    found = Estimate(*(part[score, model] for part in found))
    low_seeds, high_seeds = bootstrap_of_seeds(block.values[score, model])
    low_cells, high_cells = _percentiles(found.shifts) + found.mean
    low, high = found.interval()
    return pd.DataFrame(
        {
            **block.key(score),
            "model": np.array(block.models, dtype=object)[model],
            "seeds": found.seeds,
            "mean": found.mean,
            "std": found.std,
            "low_seeds": low_seeds,
            "high_seeds": high_seeds,
            "low_cells": low_cells,
            "high_cells": high_cells,
            "low": low,
            "high": high,
        }
    )


def bootstrap_of_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% percentile interval of the mean of each row of values (n, s), NaN left out; NaN below two values.

    The ends are the smallest resampled means whose cumulative probability reaches 2.5% and 97.5%.
    """
    ends = np.full((2, len(values)), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    counts = (~np.isnan(values)).sum(axis=1)
    for count in np.unique(counts[counts > 1]):
        rows = counts == count
        draws, probability = seed_resamples(int(count))
        means = ordered[rows, :count] @ (draws.T / count)
        order = np.argsort(means, axis=1, kind="stable")
        reached = np.cumsum(probability[order], axis=1)
        for end, level in zip(ends, (TAIL, 1 - TAIL), strict=True):
            at = (reached < level - 1e-9).sum(axis=1)
            end[rows] = np.take_along_axis(means, np.take_along_axis(order, at[:, None], 1), 1)[:, 0]
    return ends[0], ends[1]


@cache
def seed_resamples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Resamples of `count` seeds: how often each is drawn (r, count), and the probability of each resample (r,)."""
    if count > MOST_ENUMERATED:
        rng = np.random.default_rng(0)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        return draws, np.full(RESAMPLES, 1 / RESAMPLES)
    drawn = combinations_with_replacement(range(count), count)
    draws = np.array([np.bincount(each, minlength=count) for each in drawn])
    ways = [math.factorial(count) / math.prod(map(math.factorial, row)) for row in draws.tolist()]
    return draws, np.array(ways) / count**count


def _percentiles(shifts: np.ndarray) -> np.ndarray:
    """2.5 and 97.5 percentiles of each row of shifts (n, b) about its mean, (2, n); NaN for rows without resamples.

    About its mean: drawing cells twice moves some scores (mutual information of noise rises, connectivity of loose
    pieces too), by more than their spread.
    """
    ends = np.full((2, len(shifts)), np.nan)
    rows = ~np.isnan(shifts).all(axis=1) if shifts.shape[1] else np.zeros(len(shifts), bool)
    if rows.any():
        ends[:, rows] = np.nanpercentile(shifts[rows], [100 * TAIL, 100 * (1 - TAIL)], axis=1)
        ends[:, rows] -= np.nanmean(shifts[rows], axis=1)
    return ends
