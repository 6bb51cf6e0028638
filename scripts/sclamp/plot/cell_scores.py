"""Cells on their map, coloured by a score that each of them has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from sclamp.core.errors import UserError
from sclamp.core.files import read_table
from sclamp.plot.style import MUTED, NOTHING
from sclamp.plot.tables import require

BAR = 0.85
"""Inches for the colour bar at the right of a panel."""
ROBUST = (0.02, 0.98)
"""Quantiles at which the colours end, so that a few cells do not take them all."""


class Score(NamedTuple):
    """How a score of a cell is shown. signed: 0 lies in the middle of the colours. meaning: beside the colour bar."""

    title: str
    meaning: str
    signed: bool = False


SCORES = {
    "lisi_batch": Score("Batches around a cell (LISI)", "effective number of batches"),
    "lisi_label": Score("Cell types around a cell (LISI)", "effective number of cell types"),
    "silhouette_label": Score("Silhouette of its cell type", "below 0: nearer to another type", signed=True),
}
# Perceptually uniform, and read alike by colour-blind eyes. The signed one (Crameri's) is dark in its middle, for cells
# near 0 would be lost on white.
SEQUENTIAL, SIGNED = "viridis", "managua_r"


def read_scores(path: str | Path, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Read the SCORES that a cell_scores.parquet has, for the given cells, in their order: name -> (n,) float64."""
    table = read_table(path)
    require(path, table.column_names, ["cell_id"])
    row_of = {cell: row for row, cell in enumerate(table["cell_id"].to_pylist())}
    if lost := [cell for cell in ids if cell not in row_of]:
        raise UserError(f"{path}: {len(lost)} of {len(ids)} cells are not in this file; the first is '{lost[0]}'.")
    rows = np.array([row_of[cell] for cell in ids], dtype=np.int64)
    present = [name for name in SCORES if name in table.column_names]
    return {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64)[rows] for name in present}


def draw(axes: Axes, at: np.ndarray, values: np.ndarray, name: str, size: float) -> None:
    """Colour cells at (n, 2) by values (n,); cells without a value lie beneath in grey."""
    score = SCORES[name]
    axes.set_title(score.title, pad=4)
    known = np.isfinite(values)
    look: Any = {"s": size, "linewidths": 0, "rasterized": True}
    axes.scatter(at[~known, 0], at[~known, 1], color=NOTHING, alpha=0.85, **look)
    if not known.any():
        axes.text(0.5, 0.5, "no cell has this score", transform=axes.transAxes, ha="center", color=MUTED)
        return
    low, high = limits(values[known], score.signed)
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    colours = SIGNED if score.signed else SEQUENTIAL
    drawn = axes.scatter(at[order, 0], at[order, 1], c=values[order], cmap=colours, norm=Normalize(low, high), **look)
    _bar(axes, drawn, values[known], score)
    if not known.all():
        note = f"grey: {int((~known).sum()):,} cells without a value"
        axes.text(0.02, 0.01, note, transform=axes.transAxes, fontsize=7, color=MUTED)


def limits(values: np.ndarray, signed: bool) -> tuple[float, float]:
    """Where the colours begin and end; of a signed score as far below 0 as above."""
    low, high = (float(q) for q in np.quantile(values, ROBUST))
    if signed:
        high = max(abs(low), abs(high), 0.05)
        return -high, high
    return low, max(high, low + 0.05)


def _bar(axes: Axes, drawn: Any, values: np.ndarray, score: Score) -> None:
    """A colour bar with arrows where values lie beyond its ends."""
    norm = drawn.norm
    beyond = (bool((values < norm.vmin - 1e-9).any()), bool((values > norm.vmax + 1e-9).any()))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[beyond]
    place = axes.inset_axes((1.03, 0.12, 0.035, 0.76))
    figure: Any = axes.get_figure()
    bar = figure.colorbar(drawn, cax=place, extend=extend, extendfrac=0.04)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)
    bar.ax.tick_params(labelsize=7.5, width=0.6)
    bar.ax.locator_params(nbins=6)
    bar.set_label(score.meaning, fontsize=8, color=MUTED)
