"""The score table as a figure: rows are models, columns are scores, bars with intervals lie behind the numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sclamp.plot.metrics import GROUP_COLOURS, GROUP_TITLES
from sclamp.plot.scoreboard import CONTROL, SCOPES, Board, Cell, Column, Kind, Row, full_bar, interval, number, only
from sclamp.plot.style import BAD, INK, MUTED, RULE, new_figure, styled

ROW, HEAD, WIDTH, AGGREGATE_WIDTH, GAP = 0.3, 1.05, 0.98, 1.04, 0.12
"""Inches: height of a row and of a block's headings, width of a column, of an aggregate, between groups."""
MOST, OF_GROUP = 12, 8
"""Columns side by side at most, in a block and of one group: wider tables are cut into blocks, wider groups evenly."""
PARTS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("", ("model",)),
    ("Prior controls", ("prior",)),
    ("Controls", ("baseline", "control")),
)
NOTE = "(k of n): so many seeds have a value; n/a: not applicable; ✕: failed; ↓ lower is better."
SPREADS = "Mean ± standard deviation over seeds; bold: best model; ▼ ranked below a control; "
INTERVALS = (
    "Mean; line: 95% interval; bold: best model and those within its noise; number: rank, = shared; ▼ below a control; "
)


class Place(NamedTuple):
    """Where a cell lies, in inches: left end, top, width."""

    left: float
    top: float
    width: float


@styled
def draw(boards: list[Board]) -> Figure:
    """Draw the boards under each other, each in as many blocks as its width needs."""
    blocks = [block for board in boards for block in blocks_of(board)]
    name_width = 0.35 + 0.082 * max(len(_name(board, row)) for board in boards for row in board.rows)
    width = name_width + max(_right_edges(block.columns)[-1] for block in blocks) + 0.1
    heights = [HEAD + ROW * (len(block.rows) + _sections(block)) + 0.25 for block in blocks]
    figure = new_figure(max(width, 6.5), sum(heights) + 0.45)
    wide, top = figure.get_figwidth(), figure.get_figheight()
    of_block = [board for board in boards for _ in blocks_of(board)]
    for board, block, height in zip(of_block, blocks, heights, strict=True):
        axes = figure.add_axes((0, (top - height) / figure.get_figheight(), 1, height / figure.get_figheight()))
        axes.set(xlim=(0, wide), ylim=(height, 0))
        axes.axis("off")
        _block(axes, board, block, name_width)
        top -= height
    first = INTERVALS if any(board.has_intervals for board in boards) else SPREADS
    figure.text(0.12 / wide, 0.1 / figure.get_figheight(), f"{first}\n{NOTE}", fontsize=7, color=MUTED)
    return figure


def blocks_of(board: Board) -> list[Board]:
    """Cut a board of many columns into boards of at most MOST; the first holds all rows, others those with a score."""
    pieces: list[list[int]] = []
    for group in dict.fromkeys(column.shown.group for column in board.columns):
        own = [i for i, column in enumerate(board.columns) if column.shown.group == group]
        size = math.ceil(len(own) / math.ceil(len(own) / OF_GROUP))
        pieces += [own[start : start + size] for start in range(0, len(own), size)]
    lines: list[list[int]] = []
    for piece in pieces:
        if lines and len(lines[-1]) + len(piece) <= MOST:
            lines[-1] += piece
        else:
            lines.append(list(piece))
    blocks = [only(board, line) for line in lines]
    for block in blocks[1:]:
        block.rows = [row for row in block.rows if any(cell.state != "missing" for cell in row.cells)]
    return blocks


def _sections(board: Board) -> int:
    return sum(bool(board.of_kind(*kinds)) for title, kinds in PARTS if title)


def _width(column: Column) -> float:
    return AGGREGATE_WIDTH if column.shown.group == "aggregate" else WIDTH


def _right_edges(columns: list[Column]) -> list[float]:
    """Where each column ends, from the end of the names."""
    edges, at = [], 0.0
    for i, column in enumerate(columns):
        if i and columns[i - 1].shown.group != column.shown.group:
            at += GAP
        at += _width(column)
        edges.append(at)
    return edges


def _block(axes: Axes, board: Board, block: Board, name_width: float) -> None:
    """Draw a block; ranks and marks are those of the whole board."""
    rights = [name_width + edge for edge in _right_edges(block.columns)]
    more = ", continued" if block.columns[0] != board.columns[0] else ""
    title = f"{block.dataset}: {SCOPES.get(block.scope, block.scope)}{more}"
    axes.text(0.12, 0.26, title, fontsize=11, weight="bold")
    _headings(axes, block, rights)
    ranges = [full_bar(block, i) for i in range(len(block.columns))]
    top = [[row.model for row in block.top(i)] for i in range(len(block.columns))]
    whole = {row.model: row for row in board.rows}
    y = HEAD
    for title, kinds in PARTS:
        rows = block.of_kind(*kinds)
        if title and rows:
            axes.plot([0.12, rights[-1]], [y + 0.06, y + 0.06], color=RULE, linewidth=0.8)
            axes.text(0.12, y + ROW * 0.62, title, fontsize=8, style="italic", color=MUTED, va="center")
            y += ROW
        for row in rows:
            name = _name(board, whole[row.model])
            axes.text(0.12, y + ROW / 2, name, va="center", fontsize=8.5, color=MUTED if title else INK)
            for column, cell, right, full, leaders in zip(block.columns, row.cells, rights, ranges, top, strict=True):
                if row.kind == "control" and cell.state == "missing":
                    continue  # not every score is meant for embeddings that are known in advance
                left = right - _width(column) + 0.05
                _cell(axes, cell, column, Place(left, y, right - left), full, row.model in leaders)
            y += ROW


def _headings(axes: Axes, board: Board, rights: list[float]) -> None:
    groups: dict[str, list[float]] = {}
    for column, right in zip(board.columns, rights, strict=True):
        left = right - _width(column) + 0.05
        groups[column.shown.group] = [groups.get(column.shown.group, [left])[0], right]
        title = column.shown.title + (" ↓" if column.shown.lower_is_better else "")
        axes.text(left, HEAD - 0.09, _wrapped(title), fontsize=7.5, va="bottom", linespacing=1.05)
    for group, (left, right) in groups.items():
        axes.add_patch(Rectangle((left, 0.42), right - left, 0.2, color=GROUP_COLOURS[group], linewidth=0))
        title = GROUP_TITLES[group] if len(GROUP_TITLES[group]) * 0.075 < right - left else group.split("_")[0]
        axes.text(left + 0.05, 0.52, title, color="white", fontsize=8, weight="bold", va="center")


def _cell(axes: Axes, cell: Cell, column: Column, at: Place, full: float, is_best: bool) -> None:
    middle = at.top + ROW / 2 - 0.02
    if math.isnan(cell.value):
        words, colour = {
            "failed": ("✕ failed", BAD),
            "not_applicable": ("n/a", MUTED),
        }.get(cell.state, ("not run", MUTED))
        axes.text(at.left + 0.04, middle, words, va="center", fontsize=7.5, color=colour, style="italic")
        return

    def share(value: float) -> float:
        return min(max(value / full, 0.0), 1.0) if full > 0 else 0.0

    colour = GROUP_COLOURS[column.shown.group]
    axes.add_patch(Rectangle((at.left, at.top + 0.03), at.width, ROW - 0.06, color="#F4F6F8", linewidth=0))
    filled = at.width * share(cell.value)
    axes.add_patch(Rectangle((at.left, at.top + 0.03), filled, ROW - 0.06, color=colour, alpha=0.3, linewidth=0))
    extra = "" if math.isnan(cell.spread) else f"±{cell.spread:.3f}".replace("0.", ".", 1)
    if cell.estimate.has_interval:
        ends = [at.left + at.width * share(end) for end in (cell.estimate.low, cell.estimate.high)]
        line = at.top + ROW - 0.065
        axes.plot(ends, [line, line], color=colour, linewidth=1.2, solid_capstyle="butt")
        axes.plot(ends, [line, line], color=colour, linewidth=0, marker="|", markersize=3.5, markeredgewidth=0.9)
        extra = interval(cell.estimate.low, cell.estimate.high)
    if cell.state == "partial":
        extra = f"({cell.n} of {cell.seeds})"
    text = axes.text(at.left + 0.04, middle, number(cell.value), va="center", fontsize=8)
    text.set_fontweight("bold" if is_best else "normal")
    axes.text(at.left + 0.42, middle, extra, va="center", fontsize=5.8, color=MUTED)


def _name(board: Board, row: Row) -> str:
    name = row.model.removeprefix(CONTROL) if row.kind == "control" else row.model
    place = f"{board.place(row)} " if row.kind in {"model", "baseline"} and board.place(row) else ""
    return f"{place}{'▼ ' if row.below else ''}{name}"


def _wrapped(title: str) -> str:
    """Break a heading at the space nearest to its middle when it is long."""
    spaces = [i for i, letter in enumerate(title) if letter == " "]
    if len(title) <= 11 or not spaces:
        return title
    at = min(spaces, key=lambda i: abs(i - len(title) / 2))
    return f"{title[:at]}\n{title[at + 1 :]}"
