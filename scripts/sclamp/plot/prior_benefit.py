"""What the true gene prior adds to each model, over the same model with a control in its place."""

from __future__ import annotations

import math
import textwrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.plot.scoreboard import SCOPES
from sclamp.plot.style import BAD, INK, MUTED, RULE, TRAIN, new_figure, short, styled

SCORES = {
    ("integration", "total"): "Total",
    ("probe", "lobo_label_accuracy"): "Label accuracy,\nbatch left out",
    ("reconstruction", "pearson"): "Reconstruction,\nPearson",
    ("imputation", "pearson"): "Masked entries,\nPearson",
    ("left_out_genes", "pearson_gene"): "Genes left out,\nPearson per gene",
    ("left_out_genes", "pearson_cell"): "Genes left out,\nPearson per cell",
    ("genes", "marker_auroc"): "Marker genes,\nAUROC",
    ("genes", "coexpression_spearman"): "Co-expression,\nSpearman",
}
"""Scores shown, in this order; more is better in all of them."""
COLUMNS = (
    "dataset", "cells", "task", "metric", "kind", "model", "other", "seeds", "difference", "low", "high", "better",
)  # fmt: skip
ROW, BETWEEN, HEAD, FOOT = 0.225, 0.1, 1.02, 0.34
"""Inches: height of a row, the space between two models, the headings above, the axis below."""
PANEL, GAP = 1.5, 0.2


class Row(NamedTuple):
    """A model against one control of its prior."""

    model: str
    other: str


@styled
def draw(table: pd.DataFrame, dataset: str) -> Figure:
    """Draw a column of panels per score and a row per model and control.

    table: the comparisons of this data set of kind "prior", at least one of them of a score in SCORES.
    """
    shown = chosen(table)
    rows = [Row(*pair) for pair in dict.fromkeys(zip(shown["model"], shown["other"], strict=True))]
    rows.sort(key=lambda row: list(dict.fromkeys(shown["model"])).index(row.model))
    heights = _places(rows)
    left = 0.35 + 0.075 * max(max(len(short(row.model, 30)) for row in rows), 5 + max(len(_control(r)) for r in rows))
    panels = [key for key in SCORES if ((shown["task"] == key[0]) & (shown["metric"] == key[1])).any()]
    width = max(left + len(panels) * (PANEL + GAP) + 0.1, 6.0)
    notes = textwrap.wrap(" ".join(_notes(shown)), int(width * 15))
    tall = heights[-1] + ROW
    height = HEAD + tall + FOOT + 0.3 + 0.16 * len(notes)
    figure = new_figure(width, height)
    figure.text(0.12 / width, 1 - 0.12 / height, f"{dataset}: what the gene prior adds", va="top", size=12,
                weight="bold")  # fmt: skip
    for i, key in enumerate(panels):
        x = left + i * (PANEL + GAP)
        axes = figure.add_axes((x / width, 1 - (HEAD + tall) / height, PANEL / width, tall / height))
        own = shown[(shown["task"] == key[0]) & (shown["metric"] == key[1])]
        _panel(axes, own, rows, heights, key)
        if i == 0:
            _names(axes, rows, heights, left)
    _legend(figure, shown, 1 - (HEAD + tall + 0.24) / height)
    figure.text(0.12 / width, 0.08 / height, "\n".join(notes), size=7.5, color=MUTED, va="bottom", linespacing=1.3)
    return figure


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of scores that are shown and have a difference; held-out cells where a score has both sets of cells."""
    named = [pair in SCORES for pair in zip(table["task"], table["metric"], strict=True)]
    own = table[np.array(named, dtype=bool) & table["difference"].notna() & table["cells"].isin(list(SCOPES))]
    order = own["cells"].map(list(SCOPES).index)
    best = order.groupby([own["task"], own["metric"]]).transform("min") if len(own) else order
    return own[order == best]


def _places(rows: list[Row]) -> list[float]:
    """Where each row lies, in inches from the top of the panel."""
    places, at = [], ROW * 0.6 + ROW
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        if before is not None:
            at += ROW if before.model == row.model else 2 * ROW + BETWEEN  # the name of the model has a line of its own
        places.append(at)
    return places


def _panel(axes: Axes, table: pd.DataFrame, rows: list[Row], places: list[float], key: tuple[str, str]) -> None:
    axes.set_title(SCORES[key], fontsize=9, pad=14)
    scope = SCOPES[table["cells"].iloc[0]]
    axes.text(0, 1, scope, transform=axes.transAxes, fontsize=7, color=MUTED, va="bottom")
    axes.set_ylim(places[-1] + ROW, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.hlines(places, 0, 1, transform=axes.get_yaxis_transform(), color=RULE, linewidth=0.5, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    found = {Row(row["model"], row["other"]): row for row in table.to_dict("records")}
    for row, y in zip(rows, places, strict=True):
        if row in found:
            _point(axes, found[row], y)
        else:
            look: Any = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "style": "italic"}
            look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.text(0.98, y, "no value", fontsize=7, color=MUTED, **look)
    reach = 1.05 * max(abs(v) for v in [*axes.get_xlim(), 1e-3])
    axes.set_xlim(-reach, reach)  # zero in the middle: the eye compares the two sides
    step = round_down(0.8 * reach)
    axes.set_xticks([-step, 0, step], [f"{-step:g}", "0", f"{step:g}"], fontsize=7)


def round_down(value: float) -> float:
    """The next number below that has one digit other than 0."""
    unit = 10.0 ** math.floor(math.log10(value))
    return round(math.floor(value / unit + 1e-9) * unit, 12)


def _point(axes: Axes, row: dict[Any, Any], y: float) -> None:
    ink = {"model": TRAIN, "other": BAD}.get(str(row["better"]), MUTED)
    filled = str(row["better"]) in ("model", "other")
    axes.plot([row["low"], row["high"]], [y, y], color=ink, linewidth=1.6, solid_capstyle="butt", zorder=2)
    axes.plot(
        [row["difference"]], [y], marker="o", markersize=5.2, color=ink, markerfacecolor=ink if filled else "white",
        linestyle="", zorder=3,
    )  # fmt: skip


def _names(axes: Axes, rows: list[Row], places: list[float], left: float) -> None:
    across: Any = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8.5, "clip_on": False}
    models: set[str] = set()
    for row, y in zip(rows, places, strict=True):
        if row.model not in models:
            axes.text((0.12 - left) / PANEL, y - ROW, short(row.model, 30), weight="bold", **across)
            models.add(row.model)
        axes.text((0.28 - left) / PANEL, y, f"vs {_control(row)}", **across)


def _control(row: Row) -> str:
    """What stands in place of the prior: the end of a name such as direct.prior=shuffled."""
    name = row.other.rpartition(".prior=")[2]
    return "no prior" if name == "none" else short(name, 24)


def _legend(figure: Figure, table: pd.DataFrame, top: float) -> None:
    line: Any = {"marker": "o", "markersize": 5.2, "linewidth": 1.6}
    kinds = {"model": (TRAIN, TRAIN, "true prior better"), "other": (BAD, BAD, "control better")}
    marks = [
        Line2D([], [], color=ink, markerfacecolor=face, label=words, **line)
        for better, (ink, face, words) in kinds.items()
        if (table["better"] == better).any()
    ]
    marks.append(Line2D([], [], color=MUTED, markerfacecolor="white", label="no significant difference", **line))
    figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(0.0, top), ncols=len(marks), columnspacing=1.2)


def _notes(table: pd.DataFrame) -> list[str]:
    seeds = sorted({int(n) for n in table["seeds"].dropna()})
    notes = ["True prior minus control, 95% interval; filled: significant after correction for several comparisons."]
    if not any(math.isfinite(v) for v in table["low"].astype(float)):
        notes.append("No intervals were computed.")
    if seeds == [1]:
        notes.append("One seed: cells only.")
    elif seeds:
        one = " (with one seed: cells only)" if seeds[0] == 1 else ""
        several = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seeds"
        notes.append(f"Paired over {several}{one} and cells.")
    return notes
