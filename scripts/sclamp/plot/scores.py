"""The score table as a figure: rows are models, columns are scores, bars lie behind the numbers."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sclamp.plot.metrics import GROUP_TITLES
from sclamp.plot.scoreboard import CONTROL, SCOPES, Board, Cell, Column, Row, full_bar, number
from sclamp.plot.style import BAD, GROUPS, INK, MUTED, RULE, new_figure, styled

ROW, HEAD, WIDTH, AGGREGATE_WIDTH, GAP = 0.27, 1.05, 0.92, 1.08, 0.12
"""Inches: height of a row and of a block's headings, width of a column, of an aggregate, between groups."""
NOTE = (
    "Mean ± standard deviation over seeds; bold: best model; ▼ ranked below a control; (k of n): so many seeds have "
    "a value; n/a: not applicable; ✕: failed; ↓ lower is better."
)


@styled
def draw(boards: list[Board]) -> Figure:
    """Draw one block per board, under each other."""
    name_width = 0.35 + 0.082 * max(len(_name(row)) for board in boards for row in board.rows)
    width = name_width + max(_right_edges(board.columns)[-1] for board in boards) + 0.1
    heights = [HEAD + ROW * (len(board.rows) + _sections(board)) + 0.25 for board in boards]
    figure = new_figure(max(width, 6.5), sum(heights) + 0.3)
    top = figure.get_figheight()
    for board, height in zip(boards, heights, strict=True):
        axes = figure.add_axes((0, (top - height) / figure.get_figheight(), 1, height / figure.get_figheight()))
        axes.set(xlim=(0, figure.get_figwidth()), ylim=(height, 0))
        axes.axis("off")
        _block(axes, board, name_width)
        top -= height
    figure.text(0.12 / figure.get_figwidth(), 0.1 / figure.get_figheight(), NOTE, fontsize=7.5, color=MUTED)
    return figure


def _sections(board: Board) -> int:
    return 1 if board.of_kind("baseline", "control") else 0


def _right_edges(columns: list[Column]) -> list[float]:
    """Where each column ends, from the end of the names."""
    edges, at = [], 0.0
    for i, column in enumerate(columns):
        if i and columns[i - 1].shown.group != column.shown.group:
            at += GAP
        at += AGGREGATE_WIDTH if column.shown.group == "aggregate" else WIDTH
        edges.append(at)
    return edges


def _block(axes: Axes, board: Board, name_width: float) -> None:
    rights = [name_width + edge for edge in _right_edges(board.columns)]
    axes.text(0.12, 0.26, f"{board.dataset}: {SCOPES.get(board.scope, board.scope)}", fontsize=11, weight="bold")
    _headings(axes, board, rights)
    ranges = [full_bar(board, i) for i in range(len(board.columns))]
    best = [board.best(i) for i in range(len(board.columns))]
    y = HEAD
    for title, rows in (("", board.of_kind("model")), ("Controls", board.of_kind("baseline", "control"))):
        if title and rows:
            axes.plot([0.12, rights[-1]], [y + 0.06, y + 0.06], color=RULE, linewidth=0.8)
            axes.text(0.12, y + ROW * 0.62, title, fontsize=8, style="italic", color=MUTED, va="center")
            y += ROW
        for row in rows:
            axes.text(0.12, y + ROW / 2, _name(row), va="center", fontsize=8.5, color=INK if not title else MUTED)
            for column, cell, right, full, leader in zip(board.columns, row.cells, rights, ranges, best, strict=True):
                left = right - (AGGREGATE_WIDTH if column.shown.group == "aggregate" else WIDTH) + 0.05
                _cell(axes, cell, column, (left, y, right - left), full, leader is row)
            y += ROW


def _headings(axes: Axes, board: Board, rights: list[float]) -> None:
    groups: dict[str, list[float]] = {}
    for column, right in zip(board.columns, rights, strict=True):
        width = AGGREGATE_WIDTH if column.shown.group == "aggregate" else WIDTH
        start, _ = groups.get(column.shown.group, [right - width + 0.05, 0])
        groups[column.shown.group] = [start, right]
        title = column.shown.title + (" ↓" if column.shown.lower_is_better else "")
        axes.text(right - width + 0.05, HEAD - 0.09, _wrapped(title), fontsize=7.5, va="bottom", linespacing=1.05)
    for group, (left, right) in groups.items():
        axes.add_patch(Rectangle((left, 0.42), right - left, 0.2, color=GROUPS[group], linewidth=0))
        axes.text(left + 0.05, 0.52, GROUP_TITLES[group], color="white", fontsize=8, weight="bold", va="center")


def _cell(axes: Axes, cell: Cell, column: Column, box: tuple[float, float, float], full: float, is_best: bool) -> None:
    left, y, width = box
    middle = y + ROW / 2
    if math.isnan(cell.value):
        words, colour = {
            "failed": ("✕ failed", BAD),
            "not_applicable": ("n/a", MUTED),
        }.get(cell.state, ("not run", MUTED))
        axes.text(left + 0.04, middle, words, va="center", fontsize=7.5, color=colour, style="italic")
        return
    share = min(max(cell.value / full, 0.0), 1.0) if full > 0 else 0.0
    colour = GROUPS[column.shown.group]
    axes.add_patch(Rectangle((left, y + 0.03), width, ROW - 0.06, color="#F4F6F8", linewidth=0))
    axes.add_patch(Rectangle((left, y + 0.03), width * share, ROW - 0.06, color=colour, alpha=0.3, linewidth=0))
    text = axes.text(left + 0.04, middle, number(cell.value), va="center", fontsize=8)
    text.set_fontweight("bold" if is_best else "normal")
    extra = "" if math.isnan(cell.spread) else f"±{cell.spread:.3f}".replace("0.", ".", 1)
    if cell.state == "partial":
        extra = f"({cell.n} of {cell.seeds})"
    axes.text(left + 0.43, middle, extra, va="center", fontsize=6.2, color=MUTED)


def _name(row: Row) -> str:
    name = row.model.removeprefix(CONTROL) if row.kind == "control" else row.model
    return f"▼ {name}" if row.below else name


def _wrapped(title: str) -> str:
    """Break a heading at the space nearest to its middle when it is long."""
    spaces = [i for i, letter in enumerate(title) if letter == " "]
    if len(title) <= 11 or not spaces:
        return title
    at = min(spaces, key=lambda i: abs(i - len(title) / 2))
    return f"{title[:at]}\n{title[at + 1 :]}"
