"""The score table of one data set: a row per model, a column per score, means over seeds, controls apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.plot.intervals import NOTHING, Estimate, estimates
from sclamp.plot.metrics import GROUPS, LEFT_OUT, METRICS, Metric, describe

CONTROL = "control_"
"""Models of this name are controls."""
PRIOR_CONTROL = ".prior="
"""Models with this in their name read a control in place of their gene priors."""
CEILINGS = ("control_label_onehot", "control_shuffled_within_label")
"""Controls that know the answer: to stay below them is no shame."""
LABELS = "classification"
"""Task of the scores of predicted labels."""
SCOPES = {"held_out": "held-out cells", "all": "all cells"}
COLUMNS = ("dataset", "model", "seed", "cells", "task", "metric", "implementation", "value", "status", "reason")

Kind = Literal["model", "baseline", "prior", "control"]
State = Literal["ok", "partial", "not_applicable", "failed", "missing"]


class Cell(NamedTuple):
    """A score of a model.

    value: mean over the seeds that have one (NaN when none). spread: standard deviation over them (NaN for one seed).
    n: seeds with a value, of `seeds`. reason: why some have none. estimate: interval, calibrated value and rank.
    """

    value: float
    spread: float
    n: int
    seeds: int
    state: State
    reason: str = ""
    estimate: Estimate = NOTHING


class Column(NamedTuple):
    """A score: its task and name in the table, how it was computed (several when models differ), how it is shown."""

    task: str
    metric: str
    implementations: tuple[str, ...]
    shown: Metric


@dataclass
class Row:
    """A model. below: controls (or the baseline) with a better ranking score, beyond noise where that is known."""

    model: str
    kind: Kind
    cells: list[Cell]
    below: list[str] = field(default_factory=list)


@dataclass
class Board:
    """Scores of one data set on one set of cells; rows are sorted by the ranking column, best first.

    ranking: position of the column that ranks (total, else bio, else batch), None when none of them was computed.
    """

    dataset: str
    scope: str
    columns: list[Column]
    rows: list[Row]
    ranking: int | None

    def of_kind(self, *kinds: Kind) -> list[Row]:
        """Rows of these kinds, in order."""
        return [row for row in self.rows if row.kind in kinds]

    def best(self, column: int) -> Row | None:
        """The model (no control) with the best value in a column; None when no model has one."""
        return next(iter(self.leaders(column)), None)

    def leaders(self, column: int) -> list[Row]:
        """Models and the baseline that have a value in a column, best first."""
        rows = [row for row in self.of_kind("model", "baseline") if not math.isnan(row.cells[column].value)]
        sign = 1 if self.columns[column].shown.lower_is_better else -1
        return sorted(rows, key=lambda row: sign * row.cells[column].value)

    def top(self, column: int) -> list[Row]:
        """The best model of a column and those that cannot be told apart from it, as far as ranks are known."""
        first = [] if self.columns[column].shown.control else self.leaders(column)
        return [row for row in first if row is first[0] or row.cells[column].estimate.rank == 1]

    def place(self, row: Row) -> str:
        """Rank of a row in the ranking column: "2", or "=2" when it is shared; empty when there is none."""
        if self.ranking is None or math.isnan(rank := row.cells[self.ranking].estimate.rank):
            return ""
        shared = [other.cells[self.ranking].estimate.rank for other in self.of_kind("model", "baseline")].count(rank)
        return f"{'=' * (shared > 1)}{rank:.0f}"

    @property
    def has_intervals(self) -> bool:
        """Whether any score has an interval."""
        return any(cell.estimate.has_interval for row in self.rows for cell in row.cells)

    @property
    def has_calibrated(self) -> bool:
        """Whether any score was calibrated."""
        return any(not math.isnan(cell.estimate.calibrated) for row in self.rows for cell in row.cells)


def kind_of(model: str, baseline: str | None) -> Kind:
    """What a name in the score table stands for."""
    if model.startswith(CONTROL):
        return "control"
    if PRIOR_CONTROL in model:
        return "prior"
    return "baseline" if model == baseline else "model"


def boards(
    scores: pd.DataFrame,
    dataset: str,
    baseline: str | None = "pca",
    models: Iterable[str] = (),
    intervals: pd.DataFrame | None = None,
    of_labels: bool = False,
) -> list[Board]:
    """The boards of a data set, held-out cells first: of models that embed cells, or of those that predict labels.

    scores: the summary table. baseline: model set apart as the PCA control. models: rows to show even without scores.
    intervals: the table of intervals, if there is one; without it scores have a spread over seeds at most. of_labels:
    scores of predicted labels, which other models have than all other scores.
    """
    problems = [unknown("column", name, scores.columns) for name in COLUMNS if name not in scores]
    if not problems and dataset not in set(scores["dataset"]):
        problems.append(unknown("dataset", dataset, sorted(set(scores["dataset"]))))
    if problems:
        raise UserError(*(f"score table: {problem}" for problem in problems))
    own = scores[(scores["dataset"] == dataset) & ((scores["task"] == LABELS) == of_labels)]
    scopes = [s for s in SCOPES if (own["cells"] == s).any()] + sorted(set(own["cells"]) - set(SCOPES))
    found = []
    for scope in scopes:
        part = own[own["cells"] == scope]
        columns, known = _columns(part), estimates(intervals, dataset, scope)
        found.append(Board(dataset, scope, columns, _rows(part, columns, baseline, models, known), _ranking(columns)))
        _order(found[-1])
    return found


def _rows(
    scores: pd.DataFrame,
    columns: list[Column],
    baseline: str | None,
    models: Iterable[str],
    known: dict[tuple[str, str, str], Estimate],
) -> list[Row]:
    by_model = dict(list(scores.groupby("model", sort=False, observed=True)))
    empty = scores.iloc[:0]
    rows = []
    for name in dict.fromkeys([*models, *by_model]):
        own = by_model.get(name, empty)
        cells = [_cell(own, c)._replace(estimate=known.get((name, c.task, c.metric), NOTHING)) for c in columns]
        rows.append(Row(name, kind_of(name, baseline), cells))
    return rows


def _ranking(columns: list[Column]) -> int | None:
    aggregates = {c.metric: i for i, c in enumerate(columns) if c.shown.group == "aggregate"}
    return next((aggregates[name] for name in ("total", "bio", "batch") if name in aggregates), None)


def _order(board: Board) -> None:
    """Sort the rows by the ranking column and mark those below a control."""
    if (ranking := board.ranking) is not None:
        board.rows.sort(key=lambda row: -np.nan_to_num(row.cells[ranking].value, nan=-np.inf))
        for row in board.of_kind("model"):
            row.below = _below(board, row, ranking)


def _below(board: Board, row: Row, ranking: int) -> list[str]:
    """By the table of intervals where it knows the model, else by means."""
    own = row.cells[ranking]
    found = []
    for bar in board.of_kind("baseline", "control"):
        theirs = bar.cells[ranking]
        above = theirs.value > own.value if own.estimate is NOTHING else bar.model in own.estimate.below
        if above and bar.model not in CEILINGS:
            found.append(bar.model)
    return found


def _columns(scores: pd.DataFrame) -> list[Column]:
    columns = []
    for (task, metric), own in scores.groupby(["task", "metric"], sort=False, observed=True):
        shown = describe(str(task), str(metric))
        if (own["status"] == "not_applicable").all():  # a column of nothing is shown on demand only
            shown = shown._replace(extra=True)
        columns.append(Column(str(task), str(metric), tuple(sorted(set(own["implementation"]))), shown))
    return sorted(columns, key=lambda c: (GROUPS.index(c.shown.group), c.shown.extra, _place(c)))


def _place(column: Column) -> int:
    known = list(LEFT_OUT if column.task == "left_out_genes" else METRICS)
    return known.index(column.metric) if column.metric in known else len(known)


def _cell(scores: pd.DataFrame, column: Column) -> Cell:
    own = scores[(scores["metric"] == column.metric) & (scores["task"] == column.task)]
    if own.empty:
        return Cell(math.nan, math.nan, 0, 0, "missing", "was not computed")
    values = own.loc[own["status"] == "ok", "value"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    value = float(values.mean()) if len(values) else math.nan
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    rest = own[own["status"] != "ok"]
    reason = "; ".join(dict.fromkeys(str(text) for text in rest["reason"] if text))
    if len(values) == len(own):
        state: State = "ok"
    elif len(values):
        state = "partial"
    else:
        state = "failed" if (rest["status"] == "failed").any() else "not_applicable"
    return Cell(value, spread, len(values), len(own), state, reason)


def only(board: Board, keep: list[int]) -> Board:
    """The same board with some of its columns; rows keep their order and marks."""
    rows = [Row(row.model, row.kind, [row.cells[i] for i in keep], row.below) for row in board.rows]
    ranking = keep.index(board.ranking) if board.ranking in keep else None
    return Board(board.dataset, board.scope, [board.columns[i] for i in keep], rows, ranking)


def without_extras(board: Board) -> Board:
    """The same board without the columns that are variants of others or apply to no model."""
    return only(board, [i for i, column in enumerate(board.columns) if not column.shown.extra])


def full_bar(board: Board, column: int) -> float:
    """The value of a full bar: 1 for scores that end there, otherwise the largest value."""
    values = [row.cells[column].value for row in board.rows if not math.isnan(row.cells[column].value)]
    largest = max(values, default=1.0)
    return 1.0 if largest <= 1.0 and not board.columns[column].shown.lower_is_better else largest


def interval(low: float, high: float) -> str:
    """An interval where there is little room: "[.71, .74]"."""
    return f"[{_brief(low)}, {_brief(high)}]"


def _brief(value: float) -> str:
    if abs(value) >= 10:
        return f"{value:.3g}"
    return f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def number(value: float) -> str:
    """Three decimals for what lies near 0..1, three significant digits otherwise."""
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 10 else f"{value:.3g}"  # + 0.0: no minus before a zero
