"""What is known of a score beside its mean: an interval, the calibrated value, the rank. Read from the summary."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd

from sclamp.core.errors import UserError, unknown

COLUMNS = (
    "dataset", "cells", "task", "metric", "model", "low_seeds", "low_cells", "low", "high",
    "calibrated", "calibrated_low", "calibrated_high", "rank", "below_control",
)  # fmt: skip


class Estimate(NamedTuple):
    """One model's score with its noise; NaN where something is not known.

    low, high: 95% interval, over seeds and over cells as far as `over_seeds` and `over_cells` say. calibrated: 0 for a
    control that knows nothing, 1 for the cell types themselves; with its interval. rank: 1 for a model that none is
    significantly better than, NaN for controls. below: controls with a higher total.
    """

    low: float = math.nan
    high: float = math.nan
    calibrated: float = math.nan
    calibrated_low: float = math.nan
    calibrated_high: float = math.nan
    rank: float = math.nan
    below: tuple[str, ...] = ()
    over_seeds: bool = False
    over_cells: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


NOTHING = Estimate()


def estimates(intervals: pd.DataFrame | None, dataset: str, scope: str) -> dict[tuple[str, str, str], Estimate]:
    """Estimates of one data set on one set of cells: (model, task, metric) -> estimate; empty without a table."""
    if intervals is None:
        return {}
    if lost := [unknown("column", name, intervals.columns) for name in COLUMNS if name not in intervals]:
        raise UserError(*(f"table of intervals: {problem}" for problem in lost))
    own = intervals[(intervals["dataset"] == dataset) & (intervals["cells"] == scope)]
    return {(row["model"], row["task"], row["metric"]): _estimate(row) for row in own.to_dict("records")}


def _estimate(row: dict[str, Any]) -> Estimate:
    def value(name: str) -> float:
        return math.nan if row[name] is None else float(row[name])

    below = row["below_control"] if isinstance(row["below_control"], str) else ""
    return Estimate(
        value("low"),
        value("high"),
        value("calibrated"),
        value("calibrated_low"),
        value("calibrated_high"),
        value("rank"),
        tuple(name.strip() for name in below.split(",") if name.strip()),
        not math.isnan(value("low_seeds")),
        not math.isnan(value("low_cells")),
    )
