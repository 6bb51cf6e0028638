"""Scores and their resamples of a data set as arrays, in which the same seed and the same cells stand in line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from sclamp.evaluate.resampled import Resampled
from sclamp.evaluate.rows import RUN

GROUP = ["cells", "task", "metric"]


class Block(NamedTuple):
    """All scores of a data set, on axes (score, model, seed).

    groups: the scores, columns GROUP. values (g, m, s): NaN where there is none. deviations (g, m, s, b): resampled
    score minus score, NaN where there are no resamples.
    """

    dataset: str
    groups: pd.DataFrame
    models: list[str]
    seeds: list[int]
    values: np.ndarray
    deviations: np.ndarray

    def key(self, rows: np.ndarray) -> dict[str, np.ndarray | str]:
        """Columns dataset, cells, task, metric of a table about the scores `rows`."""
        return {"dataset": self.dataset, **{name: self.groups[name].to_numpy()[rows] for name in GROUP}}


EMPTY = Block("", pd.DataFrame(columns=GROUP), [], [], np.empty((0, 0, 0)), np.empty((0, 0, 0, 0)))
"""No score at all."""


def blocks(scores: pd.DataFrame, resampled: Resampled) -> Iterator[Block]:
    """One block for each data set with a score. Scores without a value, and resamples without a score, are left out."""
    ok = scores[(scores["status"] == "ok") & np.isfinite(scores["value"])]
    for dataset, rows in ok.groupby("dataset", observed=True):
        number = rows.groupby(GROUP, sort=False, observed=True).ngroup().to_numpy()
        groups = rows[GROUP].drop_duplicates().reset_index(drop=True)
        model, models = pd.factorize(rows["model"], sort=True)
        seed, seeds = pd.factorize(rows["seed"], sort=True)
        values = np.full((len(groups), len(models), len(seeds)), np.nan)
        values[number, model, seed] = rows["value"]
        deviations = np.full((*values.shape, resampled.samples.shape[1]), np.nan)
        places = rows[RUN].assign(g=number, m=model, s=seed)
        found = resampled.keys.assign(row=np.arange(len(resampled.keys))).merge(places, on=RUN)
        at = found["g"], found["m"], found["s"]
        deviations[at] = resampled.samples[found["row"]] - values[at][:, None]
        yield Block(str(dataset), groups, [str(m) for m in models], [int(s) for s in seeds], values, deviations)
