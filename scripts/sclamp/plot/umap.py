"""UMAP of the cells of one run: a panel for each of label, batch and split, and below one for each score of a cell."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.plot import cell_scores, labels
from sclamp.plot.style import MUTED, NOTHING, colours, dark, new_figure, short, styled
from sclamp.plot.tables import Category

PANEL, MARGIN, FLATTEST = 3.5, 0.25, 0.62
"""Inches: width of a panel, space before it; the least height of a panel, in widths."""
NAMED_ON_MAP, ROWS = 20, 20
"""Up to this many cell types are named on the map; more go into a legend with this many rows."""
HEADINGS = {"label": "Cell type", "batch": "Batch", "split": "Split"}
HEAD, BETWEEN = 0.6, 0.4
"""Inches above the first row of panels, and above the second."""


@styled
def draw(
    at: np.ndarray, columns: dict[str, Category], title: str, total: int, scores: dict[str, np.ndarray] | None = None
) -> Figure:
    """Draw positions (n, 2) once per column, in shared coordinates, and below once per score of the cells.

    columns: name -> categories of the n cells; without any, the cells are drawn in one colour. total: number of cells
    of the data set; where it is larger than n, the figure says so. scores: name in cell_scores.SCORES -> (n,) values.
    """
    panels: dict[str, Category | None] = dict(columns) if columns else {"cells": None}
    scores = scores or {}
    legends = [_legend_columns(name, category) for name, category in panels.items()]
    above = [MARGIN + PANEL + _legend_width(c, n) for c, n in zip(panels.values(), legends, strict=True)]
    below = [MARGIN + PANEL + cell_scores.BAR] * len(scores)
    widths = [max(pair) for pair in zip_longest(above, below, fillvalue=0.0)]
    tall = _height(at, panels.values(), legends)
    figure = new_figure(sum(widths) + 0.1, tall + 0.75 + (tall + BETWEEN + 0.05 if scores else 0.0))
    lefts = [MARGIN + sum(widths[:i]) for i in range(len(widths))]
    for (name, category), left, n_columns in zip(panels.items(), lefts, legends, strict=False):
        axes = _axes(figure, left, HEAD, tall)
        _scatter(axes, at, category)
        axes.set_title(HEADINGS.get(name, name.capitalize()), pad=4)
        if category is not None:
            if _named_on_map(name, category):
                _name_groups(axes, at, category)
            else:
                _legend(axes, category, n_columns)
    for (name, values), left in zip(scores.items(), lefts, strict=False):
        axes = _axes(figure, left, HEAD + tall + BETWEEN, tall)
        cell_scores.draw(axes, at, values, name, point_size(len(at)))
        _frame(axes)
    _head(figure, title, len(at), total)
    return figure


def _height(at: np.ndarray, categories: Iterable[Category | None], legends: list[int]) -> float:
    """Inches that a panel is high: less than wide for a flat layout, as long as its legends fit."""
    across, up = np.ptp(at, axis=0)
    rows = [
        math.ceil((len(_present(category)) + 1) / columns)
        for category, columns in zip(categories, legends, strict=True)
        if category is not None and columns
    ]
    flat = PANEL * float(np.clip(up / max(across, 1e-9), FLATTEST, 1.0))
    return min(max(flat, 0.175 * max(rows, default=0)), PANEL)


def _axes(figure: Figure, left: float, top: float, tall: float) -> Axes:
    """A panel of this height whose upper left corner lies so many inches from that of the figure."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, 1 - (top + tall) / height, PANEL / width, tall / height))


def _head(figure: Figure, title: str, n: int, total: int) -> None:
    """The heading at the left and the number of cells at the right."""
    width, height = figure.get_size_inches()
    drawn = f"{n:,} cells" if n == total else f"{n:,} of {total:,} cells drawn"
    x, y = 0.1 / width, 1 - 0.12 / height
    room = (width - 0.3 - 0.075 * len(drawn)) / 0.125
    figure.text(x, y, short(title, max(int(room), 24)), va="top", size=12, weight="bold")
    figure.text(1 - x, y, drawn, va="top", ha="right", color=MUTED)


def point_size(n: int) -> float:
    """Area of a point in square points: large for few cells, small for many."""
    return float(np.clip(9000.0 / max(n, 1), 0.6, 22.0))


def _named_on_map(name: str, category: Category) -> bool:
    return name == "label" and len(_present(category)) <= NAMED_ON_MAP


def _legend_columns(name: str, category: Category | None) -> int:
    if category is None or _named_on_map(name, category):
        return 0
    return math.ceil(len(_present(category)) / ROWS)


def _legend_width(category: Category | None, n_columns: int) -> float:
    if category is None or n_columns == 0:
        return 0.0
    longest = max(len(short(name)) for name in category.names)
    return n_columns * (0.32 + 0.067 * max(longest, 6))


def _present(category: Category) -> list[int]:
    return [int(code) for code in np.unique(category.codes) if code >= 0]


def _scatter(axes: Axes, at: np.ndarray, category: Category | None) -> None:
    """All points in a shuffled (but fixed) order, so that no category hides another; missing values beneath."""
    size = point_size(len(at))
    if category is None:
        inks: Any = np.full(len(at), MUTED, dtype=object)
        known = np.ones(len(at), dtype=bool)
    else:
        palette = np.array([*colours(category.names).values(), NOTHING], dtype=object)
        inks, known = palette[category.codes], category.codes >= 0
    order = np.random.default_rng(0).permutation(len(at))
    for cells in (order[~known[order]], order[known[order]]):
        axes.scatter(at[cells, 0], at[cells, 1], s=size, c=list(inks[cells]), linewidths=0, alpha=0.85, rasterized=True)
    _frame(axes)


def _frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    for side in ("left", "bottom"):
        axes.spines[side].set_color(NOTHING)
    axes.set_xlabel("UMAP 1", fontsize=7, color=MUTED, loc="left", labelpad=2)
    axes.set_ylabel("UMAP 2", fontsize=7, color=MUTED, loc="bottom", labelpad=2)


def _name_groups(axes: Axes, at: np.ndarray, category: Category) -> None:
    axes.apply_aspect()
    palette = colours(category.names)
    codes = _present(category)
    homes = np.array([_middle(at[category.codes == code]) for code in codes])
    reach = np.array([np.ptp(np.quantile(at[category.codes == code, 1], [0.05, 0.95])) / 2 for code in codes])
    names = [category.names[code] for code in codes]
    labels.place(axes, homes, names, [dark(palette[name]) for name in names], size=8.5, reach=reach)


def _middle(points: np.ndarray) -> np.ndarray:
    """The point nearest to the median: where a name surely lies on its own cells."""
    median = np.median(points, axis=0)
    return points[np.argmin(((points - median) ** 2).sum(axis=1))]


def _legend(axes: Axes, category: Category, n_columns: int) -> None:
    palette = colours(category.names)
    names = [(category.names[code], palette[category.names[code]]) for code in _present(category)]
    if (category.codes < 0).any():
        names.append(("not known", NOTHING))
    marks = [Line2D([], [], marker="o", linestyle="", markersize=5, color=colour) for _, colour in names]
    shown = [short(name) for name, _ in names]
    axes.legend(
        marks, shown, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=n_columns, handletextpad=0.2,
        columnspacing=0.8, labelspacing=0.35, borderaxespad=0.2, fontsize=8.5,
    )  # fmt: skip
