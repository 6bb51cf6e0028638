"""Score tables as the page shows them: every cell's words, bar and whisker, raw and calibrated."""

from __future__ import annotations

import math
from typing import NamedTuple

from sclamp.plot.metrics import GROUP_COLOURS
from sclamp.plot.scoreboard import Board, Cell, Column, Row, full_bar, interval, number, only
from sclamp.report.words import joined

PARTS: dict[str, tuple[str, ...]] = {
    "scores": ("aggregate", "bio", "batch"),
    "labels": ("classification",),
    "more": ("probe", "unseen", "other"),
    "rebuilt": ("reconstruction", "imputation"),
    "genes": ("genes",),
    "left_out": ("left_out_genes",),
}
"""Tables of a board and the groups of scores in each."""
WITHOUT = {"failed": "✕ failed", "not_applicable": "n/a"}


class Shown(NamedTuple):
    """A cell. text, more: number, and interval or spread; the same calibrated. sort: raw and calibrated, for sorting.

    style: CSS variables of bar and whisker. state: as in the board. note: for the tooltip.
    """

    text: str
    more: str
    calibrated: str
    calibrated_more: str
    sort: tuple[str, str]
    style: str
    state: str
    note: str
    best: bool
    whisker: bool


class Line(NamedTuple):
    """A row. place: rank by the aggregate. below: controls above it."""

    model: str
    kind: str
    place: str
    below: list[str]
    cells: list[Shown]


class Table(NamedTuple):
    """One table. part: key of PARTS. ranking: position of the column that sorts, or None. values: what is in a cell."""

    part: str
    dataset: str
    scope: str
    columns: list[Column]
    lines: list[Line]
    ranking: int | None
    values: str
    has_calibrated: bool

    @property
    def bodies(self) -> list[list[Line]]:
        """Lines of models, of models with controlled priors, and of controls; none is empty."""
        kinds = (("model",), ("prior",), ("baseline", "control"))
        return [own for group in kinds if (own := [line for line in self.lines if line.kind in group])]

    @property
    def extras(self) -> bool:
        """Whether some columns are shown on demand."""
        return any(column.shown.extra for column in self.columns)


def tables(board: Board) -> dict[str, Table]:
    """The tables of a board that have a column and a row."""
    found = {}
    for part, groups in PARTS.items():
        own = only(board, [i for i, column in enumerate(board.columns) if column.shown.group in groups])
        rows = own.rows if part == "scores" else [row for row in own.rows if _scored(row)]
        if own.columns and rows:
            found[part] = _table(part, board, own, rows)
    return found


def _scored(row: Row) -> bool:
    """A row of a table beside the main one: only models that these scores are meant for."""
    return any(cell.state not in {"missing", "not_applicable"} for cell in row.cells)


def _table(part: str, board: Board, own: Board, rows: list[Row]) -> Table:
    full = [full_bar(own, i) for i in range(len(own.columns))]
    top = [{row.model for row in own.top(i)} for i in range(len(own.columns))]
    ranks = {row.model: board.place(row) for row in board.of_kind("model", "baseline")} if part == "scores" else {}
    lines = [
        Line(
            row.model, row.kind, ranks.get(row.model, ""), row.below if part == "scores" else [],
            [
                _shown(cell, column, width, row.model in leaders)
                for cell, column, width, leaders in zip(row.cells, own.columns, full, top, strict=True)
            ],
        )
        for row in rows
    ]  # fmt: skip
    return Table(part, board.dataset, board.scope, own.columns, lines, own.ranking, _values(own), own.has_calibrated)


def _values(board: Board) -> str:
    seeds = max((cell.seeds for row in board.rows for cell in row.cells), default=0)
    noise = "95% interval" if board.has_intervals else "standard deviation" if seeds > 1 else ""
    if seeds > 1:
        return f"mean over {seeds} seeds and its {noise}"
    return f"one seed, {noise} over cells" if noise else "one seed"


def _shown(cell: Cell, column: Column, full: float, best: bool) -> Shown:
    known = cell.estimate
    if math.isnan(cell.value):
        words = WITHOUT.get(cell.state, "not run")
        return Shown(words, "", words, "", ("", ""), "", cell.state, cell.reason, False, False)
    more = "" if math.isnan(cell.spread) else f"±{cell.spread:.3f}"
    style = f"--ink:{GROUP_COLOURS[column.shown.group]};--share:{_share(cell.value, full)}"
    if known.has_interval:
        more = interval(known.low, known.high)
        style += f";--lo:{_share(known.low, full)};--hi:{_share(known.high, full)}"
    calibrated, calibrated_more, sort = "not calibrated", "", ""
    if not math.isnan(known.calibrated):
        calibrated, sort = number(known.calibrated), _exact(known.calibrated)
        style += f";--c:{_share(known.calibrated, 1)}"
        if not math.isnan(known.calibrated_low):
            calibrated_more = interval(known.calibrated_low, known.calibrated_high)
            style += f";--clo:{_share(known.calibrated_low, 1)};--chi:{_share(known.calibrated_high, 1)}"
    note = "; ".join(text for text in (cell.reason, _noise(cell)) if text)
    keys = (_exact(cell.value), sort)
    return Shown(
        number(cell.value), more, calibrated, calibrated_more, keys, style, cell.state, note, best, known.has_interval
    )


def _noise(cell: Cell) -> str:
    if not cell.estimate.has_interval:
        return ""
    rank = "" if math.isnan(cell.estimate.rank) else f"; rank {cell.estimate.rank:.0f}"
    over = joined([*[f"{cell.n} seeds"] * cell.estimate.over_seeds, *["cells"] * cell.estimate.over_cells])
    ends = f"{number(cell.estimate.low)} to {number(cell.estimate.high)}"
    return f"95% interval over {over}: {ends}{rank}"


def _share(value: float, full: float) -> str:
    """Length on a bar whose end is `full`, in percent."""
    return f"{100 * min(max(value / full, 0.0), 1.0) if full > 0 else 0.0:.1f}%"


def _exact(value: float) -> str:
    return f"{value:.6g}"
