"""Training curves of one run, or of the phases of a chain of runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sclamp.core.errors import UserError
from sclamp.core.files import read_table
from sclamp.plot.style import MUTED, RULE, TRAIN, VALIDATION, new_figure, short, styled
from sclamp.plot.tables import require

WARM_UP = "#F1ECDD"
MANY = 10
"""Epochs from which on the first ones may be cut off."""
SCHEDULES = ("beta", "learning_rate")


class History:
    """A history.parquet: one row per epoch.

    name: heading. epochs (e,). values: column -> (e,) float64. best: epoch whose model was kept, or None.
    """

    def __init__(self, name: str, table: pa.Table) -> None:
        self.name = name
        self.epochs = table["epoch"].to_numpy().astype(float)
        numeric = [f.name for f in table.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        self.values = {c: table[c].to_numpy().astype(float) for c in numeric if c != "epoch"}
        best = table["is_best"].to_numpy(zero_copy_only=False) if "is_best" in table.column_names else np.zeros(0, bool)
        self.best = self.epochs[np.flatnonzero(best)[-1]] if best.any() else None

    @property
    def parts(self) -> list[str]:
        """Names of what is logged beside the loss, in the order of the table; not those without any value."""
        known = [c for c, values in self.values.items() if np.isfinite(values).any()]
        names = [c.split("_", 1)[1] for c in known if c.startswith(("train_", "val_"))]
        return [n for n in dict.fromkeys(names) if n != "loss" and n not in SCHEDULES]

    @property
    def warm_up(self) -> tuple[float, float] | None:
        """First and last epoch before beta reaches its final value; None when it never changes."""
        beta = self.values.get("beta")
        if beta is None or np.ptp(beta) == 0:
            return None
        return self.epochs[0], self.epochs[np.flatnonzero(beta != beta.max())[-1]]


def read_history(name: str, path: str | Path) -> History:
    """Read one history.parquet."""
    table = read_table(path)
    require(path, table.column_names, ["epoch", "train_loss", "val_loss"])
    if table.num_rows == 0:
        raise UserError(f"{path}: no epoch is recorded.")
    return History(name, table)


@styled
def draw(histories: list[History]) -> Figure:
    """Draw a column per history: loss, its parts, and the schedules, over epochs.

    Columns are numbered, for histories are phases in the order of training; rows share their vertical axis, so that
    phases can be compared.
    """
    parts = list(dict.fromkeys(part for history in histories for part in history.parts))
    rows = ["loss", *parts, *(s for s in SCHEDULES if any(s in h.values for h in histories))]
    if len(histories) == 1:
        return _draw_one(histories[0], rows)
    heights = [2.2] + [1.25] * (len(rows) - 1)
    figure = new_figure(1.0 + 3.6 * len(histories), sum(heights) + 0.9)
    grid: Any = figure.subplots(
        len(rows), len(histories), sharex="col", sharey="row", squeeze=False, height_ratios=heights
    )
    for column, history in enumerate(histories):
        for row, name in enumerate(rows):
            _panel(grid[row, column], history, name)
            if not {name, f"train_{name}", f"val_{name}"} & set(history.values):
                grid[row, column].text(0.5, 0.5, "not part of this loss", ha="center", color=MUTED, fontsize=8,
                                       transform=grid[row, column].transAxes)  # fmt: skip
            if column == 0:
                grid[row, 0].set_ylabel(_words(name).replace(" ", "\n") if len(name) > 14 else _words(name))
        grid[0, column].set_title(f"{column + 1}. {short(history.name, 30)}")
        grid[-1, column].set_xlabel("Epoch")
    for row, name in enumerate(rows):
        _scale(list(grid[row]), histories, name)
    marks, names = _marks(grid[0, -1], histories)
    figure.legend(marks, names, loc="lower left", ncols=len(names), columnspacing=1.4)
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    return figure


def _draw_one(history: History, rows: list[str]) -> Figure:
    """A single run: the loss large on the left, everything else in small panels beside it."""
    small = rows[1:]
    n_columns = max(1, (len(small) + 1) // 2)
    figure = new_figure(5.0 + 2.5 * n_columns, 3.7)
    grid = figure.add_gridspec(2, 1 + n_columns, width_ratios=[4.6] + [2.4] * n_columns)
    axes = [figure.add_subplot(grid[:, 0])]
    axes += [figure.add_subplot(grid[i % 2, 1 + i // 2]) for i in range(len(small))]
    for panel, name in zip(axes, rows, strict=True):
        _panel(panel, history, name)
        _scale([panel], [history], name)
        panel.set_title(_words(name), fontsize=9 if name != "loss" else 10)
    axes[0].set_title(history.name)
    axes[0].set_ylabel("Loss")
    for i, panel in enumerate(axes):
        if i == 0 or i % 2 == 0 or i == len(axes) - 1:
            panel.set_xlabel("Epoch")
    axes[0].legend(*_marks(axes[0], [history]), loc="upper right")
    figure.tight_layout()
    return figure


def _panel(axes: Axes, history: History, name: str) -> None:
    if history.warm_up is not None:
        axes.axvspan(*history.warm_up, color=WARM_UP, linewidth=0, zorder=0)
    if name in SCHEDULES:
        if name in history.values:
            axes.plot(history.epochs, history.values[name], color=MUTED, linewidth=1.4)
    else:
        for prefix, colour in (("train", TRAIN), ("val", VALIDATION)):
            values = history.values.get(f"{prefix}_{name}")
            if values is not None:
                seen = np.isfinite(values)  # validation may run every few epochs only
                marker = "." if seen.sum() == 1 else None
                axes.plot(history.epochs[seen], values[seen], color=colour, linewidth=1.4, marker=marker)
    if history.best is not None:
        axes.axvline(history.best, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _scale(panels: list[Axes], histories: list[History], name: str) -> None:
    """Cut off the first epochs where they would flatten the rest, and write where the curve starts."""
    curves = [_curves(history, name) for history in histories]
    long = [curve for own in curves for curve in own if len(curve) > MANY]
    if name in SCHEDULES or not long:
        return
    low, top = min(c.min() for c in long), max(c.max() for c in long)
    late = max(c[len(c) // 10 + 1 :].max() for c in long)
    if not top - low > 2 * (late - low) > 0:
        return
    limit = late + 0.06 * (late - low)
    alone = len(panels) == 1 and name == "loss"  # the legend stands in this panel
    y, side = (1.01, "bottom") if alone else (0.96, "top")
    for panel, own in zip(panels, curves, strict=True):
        panel.set_ylim(low - (limit - late), limit)
        start = max((curve.max() for curve in own), default=low)
        if start > limit:
            pale = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            place: Any = {"transform": panel.transAxes, "ha": "right", "va": side, "bbox": pale}
            panel.text(0.99, y, f"starts at {start:,.4g}", fontsize=7, color=MUTED, **place)


def _curves(history: History, name: str) -> list[np.ndarray]:
    """The finite values of training and validation."""
    found = [history.values[c] for c in (f"train_{name}", f"val_{name}") if c in history.values]
    return [values[np.isfinite(values)] for values in found]


def _marks(axes: Axes, histories: list[History]) -> tuple[list[Any], list[str]]:
    """What the legend shows, and the words beside it."""
    marks: list[Any] = [
        axes.plot([], [], color=TRAIN, linewidth=1.4)[0],
        axes.plot([], [], color=VALIDATION, linewidth=1.4)[0],
    ]
    names = ["training", "validation"]
    if any(h.best is not None for h in histories):
        marks.append(axes.plot([], [], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))[0])
        best = histories[0].best
        names.append(f"kept: epoch {best:.0f}" if len(histories) == 1 and best is not None else "kept epoch")
    if any(h.warm_up is not None for h in histories):
        marks.append(axes.fill_between([], [], color=WARM_UP, linewidth=0))
        names.append("warm-up of beta")
    return marks, names


def _words(name: str) -> str:
    words = name.replace("_", " ").replace("kl ", "KL ").replace("spearman", "Spearman").strip()
    return {"kl": "KL", "nll": "NLL", "mse": "MSE"}.get(words, words[:1].upper() + words[1:])
