"""The table of intervals as the rows of a ranking: which models, in which order, at which values."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sclamp.plot.scoreboard import SCOPES, Kind, kind_of

METRICS = ("total", "bio", "batch")
COLUMNS = (
    "dataset", "cells", "task", "metric", "model", "seeds", "mean", "low_seeds", "high_seeds", "low", "high",
    "calibrated", "calibrated_low", "calibrated_high", "floor", "ceiling", "rank", "below_control",
)  # fmt: skip


class Point(NamedTuple):
    """A score of a model with its interval, and the part of it that comes from seeds (NaN where there is none).

    rank: 1 where no model is significantly better; NaN for controls. below: the controls above it, or "".
    """

    value: float
    low: float
    high: float
    low_seeds: float
    high_seeds: float
    rank: float
    below: str

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)


class Panel(NamedTuple):
    """One score of all models. calibrated: whether 0 is a random embedding and 1 the perfect labels, or raw."""

    metric: str
    calibrated: bool
    points: dict[str, Point]

    def values(self, field: str = "value") -> list[float]:
        """The finite values of one field of all points."""
        return [getattr(p, field) for p in self.points.values() if math.isfinite(getattr(p, field))]


class Block(NamedTuple):
    """One set of cells: models, best first, and a panel per score; ranking: the panel that orders, None without one."""

    scope: str
    models: list[str]
    kinds: dict[str, Kind]
    panels: list[Panel]
    ranking: Panel | None
    most_seeds: int

    def standing(self, model: str) -> Point | None:
        """The point of a model in the panel that ranks."""
        return self.ranking.points.get(model) if self.ranking else None


def blocks(table: pd.DataFrame, dataset: str, baseline: str | None) -> list[Block]:
    """Blocks of a data set, held-out cells first; empty where the table says nothing about it."""
    wanted = (table["dataset"] == dataset) & (table["task"] == "integration") & table["metric"].isin(METRICS)
    own = table[wanted]
    scopes = [scope for scope in SCOPES if (own["cells"] == scope).any()]
    return [_block(own[own["cells"] == scope], scope, baseline) for scope in scopes]


def _block(table: pd.DataFrame, scope: str, baseline: str | None) -> Block:
    panels = [_panel(table[table["metric"] == metric], metric) for metric in METRICS]
    ranking = next((panel for panel in panels if panel.values()), None)
    models = sorted(dict.fromkeys(table["model"].astype(str)))
    if ranking is not None:
        models.sort(key=lambda name: -_value(ranking, name))
    seeds = table["seeds"].to_numpy(dtype=float)
    most = int(np.nanmax(seeds)) if np.isfinite(seeds).any() else 0
    return Block(scope, models, {name: kind_of(name, baseline) for name in models}, panels, ranking, most)


def _value(panel: Panel, model: str) -> float:
    """For sorting: models without a value come last."""
    return panel.points[model].value if model in panel.points and panel.points[model].known else -math.inf


def _panel(table: pd.DataFrame, metric: str) -> Panel:
    calibrated = bool(np.isfinite(table["calibrated"].to_numpy(dtype=float)).any())
    rows = table.to_dict("records")
    return Panel(metric, calibrated, {str(row["model"]): _point(row, calibrated) for row in rows})


def _point(row: dict[Any, Any], calibrated: bool) -> Point:
    below = row["below_control"] if isinstance(row["below_control"], str) else ""
    numbers = [row[name] for name in ("mean", "low", "high", "low_seeds", "high_seeds", "rank")]
    mean, low, high, low_seeds, high_seeds, rank = (math.nan if pd.isna(n) else float(n) for n in numbers)
    if not calibrated:
        return Point(mean, low, high, low_seeds, high_seeds, rank, below)
    floor, ceiling = (math.nan if pd.isna(row[name]) else float(row[name]) for name in ("floor", "ceiling"))
    width = ceiling - floor if ceiling != floor else math.nan
    numbers = [row[name] for name in ("calibrated", "calibrated_low", "calibrated_high")]
    value, low, high = (math.nan if pd.isna(n) else float(n) for n in numbers)
    return Point(value, low, high, (low_seeds - floor) / width, (high_seeds - floor) / width, rank, below)
