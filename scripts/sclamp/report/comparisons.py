"""Paired differences between models: how large, how sure, and which way is better."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.plot.scoreboard import Column, number

COLUMNS = (
    "dataset", "cells", "task", "metric", "kind", "model", "other", "seeds", "difference", "low", "high", "p_adjusted",
    "better",
)  # fmt: skip


class Gain(NamedTuple):
    """How much better a model is than another on a score, positive for better; also for errors, where less is better.

    low, high: 95% interval (NaN when not known). beyond: whether the difference exceeds the noise, after correction for
    several comparisons; None when there was no test. seeds: how many both models have.
    """

    value: float
    low: float
    high: float
    p: float
    beyond: bool | None
    seeds: int

    @property
    def interval(self) -> str:
        """As in "[0.010, 0.030]"; empty when not known."""
        return "" if math.isnan(self.low) else f"[{number(self.low)}, {number(self.high)}]"

    @property
    def words(self) -> str:
        """As in "+0.020 [0.010, 0.030]"."""
        return f"{signed(self.value)} {self.interval}".strip()

    @property
    def verdict(self) -> str:
        """Better, worse, or within noise."""
        if self.beyond is None:
            return "not tested"
        return ("better" if self.value > 0 else "worse") if self.beyond else "within noise"


class Comparisons:
    """The comparisons of one data set on one set of cells."""

    def __init__(self, table: pd.DataFrame | None, dataset: str, scope: str) -> None:
        """table: the table of comparisons; None where there is none."""
        self._found: dict[tuple[str, str, str, str, str], dict[str, Any]] = {}
        if table is None:
            return
        if lost := [unknown("column", name, table.columns) for name in COLUMNS if name not in table]:
            raise UserError(*(f"table of comparisons: {problem}" for problem in lost))
        own = table[(table["dataset"] == dataset) & (table["cells"] == scope)]
        for row in own.to_dict("records"):
            self._found[row["kind"], row["task"], row["metric"], row["model"], row["other"]] = row

    def __bool__(self) -> bool:
        return bool(self._found)

    def gain(self, column: Column, model: str, other: str, kind: str = "models") -> Gain | None:
        """How much better `model` is than `other` on a score; None when the two were not compared."""
        sign = -1 if column.shown.lower_is_better else 1
        row = self._found.get((kind, column.task, column.metric, model, other))
        if row is None:
            row, sign = self._found.get((kind, column.task, column.metric, other, model)), -sign
        if row is None:
            return None
        low, high = sorted((sign * row["low"], sign * row["high"]))
        tested = not math.isnan(row["p_adjusted"])
        beyond = row["better"] != "neither" if tested else None
        return Gain(sign * row["difference"], low, high, row["p_adjusted"], beyond, int(row["seeds"]))


def signed(value: float) -> str:
    """A number with its sign: +0.020."""
    return f"+{number(value)}" if value > 0 and not number(value).startswith("0.000") else number(value)
