"""Ranks that only differ where the difference exceeds the noise, and the controls that a model does not beat."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sclamp.evaluate.calibrate import KEY
from sclamp.evaluate.compare import is_control
from sclamp.evaluate.controls import CEILINGS, PREFIX


def ranks(intervals: pd.DataFrame, comparisons: pd.DataFrame) -> np.ndarray:
    """1 + the number of models that are significantly better, for each row of intervals.

    NaN for controls, and where others have a value but no comparison with them has a p.
    """
    of_models = comparisons[comparisons["kind"] == "models"]
    sides = [
        of_models[[*KEY, name, "p", "better"]]
        .rename(columns={name: "model"})
        .assign(loses=of_models["better"] == rival)
        for name, rival in (("model", "other"), ("other", "model"))
    ]
    each = pd.concat(sides)
    each = each.assign(tested=each["p"].notna())
    counts = each.groupby([*KEY, "model"], observed=True)[["loses", "tested"]].sum()
    found = intervals[[*KEY, "model"]].merge(counts, how="left", left_on=[*KEY, "model"], right_index=True)
    rank = 1 + found["loses"].fillna(0).to_numpy(float)
    unknown = (found["tested"] == 0).to_numpy()
    controls = intervals["model"].map(is_control).to_numpy(bool)
    return np.where(unknown | controls, np.nan, rank)


def below_controls(intervals: pd.DataFrame, baseline: str | None) -> np.ndarray:
    """For each row the controls whose mean total is higher than the model's, joined by commas; empty for controls.

    intervals: with column rank. The baseline is a model that others are held against: it counts where it also ranks
    above, beyond noise. Controls that keep the labels (CEILINGS) are left out.
    """
    place = ["dataset", "cells"]
    totals = intervals.loc[intervals["metric"] == "total", [*place, "model", "mean", "rank"]]
    controls = totals["model"].str.startswith(PREFIX) & ~totals["model"].isin(CEILINGS)
    bars = totals[controls | (totals["model"] == baseline)]
    pairs = totals[~totals["model"].str.startswith(PREFIX)].merge(bars, on=place, suffixes=("", "_bar"))
    within_noise = (pairs["model_bar"] == baseline) & (pairs["rank_bar"] >= pairs["rank"])
    above = pairs[(pairs["mean_bar"] > pairs["mean"]) & (pairs["model_bar"] != pairs["model"]) & ~within_noise]
    names = above.sort_values("model_bar").groupby([*place, "model"], observed=True)["model_bar"].agg(",".join)
    if names.empty:
        return np.full(len(intervals), "", dtype=object)
    found = intervals[[*place, "model"]].merge(names, how="left", left_on=[*place, "model"], right_index=True)
    return found["model_bar"].fillna("").to_numpy(object)
