"""How well a model gives expression back: measured against reconstructed entries of test cells, seen and hidden."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from sclamp.core.files import read_table
from sclamp.plot.style import INK, MUTED, NOTHING, RULE, TRAIN, VALIDATION, dark, new_figure, styled
from sclamp.plot.tables import require

PANEL, GAP, LEFT, BOTTOM, TOP = 2.9, 0.62, 0.62, 0.55, 0.85
"""Inches."""
GRID = 44
"""Hexagons across a panel."""
COLOURS = "viridis_r"
SEEN, HIDDEN = "Entries that the model saw", "Entries that were masked"


class Pairs(NamedTuple):
    """Sampled entries: measured (n,), reconstructed (n,) and masked (n,) bool; entries that are not finite left out."""

    measured: np.ndarray
    reconstructed: np.ndarray
    masked: np.ndarray


class Agreement(NamedTuple):
    """What a reconstruction.parquet or imputation.parquet says. per_gene: Pearson of each gene that has one."""

    entries: int
    pearson: float
    rmse: float
    per_gene: np.ndarray


def read_pairs(path: str | Path) -> Pairs:
    """Read reconstruction_pairs.parquet."""
    table = read_table(path)
    require(path, table.column_names, ["measured", "reconstructed", "masked"])
    measured, guessed = (table[n].to_numpy().astype(np.float64) for n in ("measured", "reconstructed"))
    masked = table["masked"].to_numpy(zero_copy_only=False).astype(bool)
    known = np.isfinite(measured) & np.isfinite(guessed)
    return Pairs(measured[known], guessed[known], masked[known])


def read_agreement(path: str | Path) -> Agreement | None:
    """Read reconstruction.parquet or imputation.parquet; None when it has no row over all entries."""
    table = read_table(path)
    require(path, table.column_names, ["scope", "n", "pearson", "mse"])
    scope = np.asarray(table["scope"].to_pylist(), dtype=object)
    if not (everything := np.flatnonzero(scope == "all")).size:
        return None
    row = int(everything[0])
    pearson = table["pearson"].to_numpy(zero_copy_only=False).astype(np.float64)
    mse = table["mse"].to_numpy(zero_copy_only=False).astype(np.float64)
    per_gene = pearson[scope == "gene"]
    entries = int(table["n"].to_numpy(zero_copy_only=False)[row])
    return Agreement(entries, float(pearson[row]), float(np.sqrt(mse[row])), per_gene[np.isfinite(per_gene)])


@styled
def draw(pairs: Pairs, seen: Agreement | None, hidden: Agreement | None, title: str) -> Figure:
    """Draw seen entries, masked entries (where there are any) and the Pearson correlation of each gene."""
    panels = [(SEEN, ~pairs.masked, seen, TRAIN), (HIDDEN, pairs.masked, hidden, VALIDATION)]
    panels = [panel for panel in panels if panel[1].any()]
    width = LEFT + len(panels) * (PANEL + GAP) + 0.55 + PANEL + 0.2
    height = TOP + PANEL + BOTTOM
    figure = new_figure(width, height)
    x, y = 0.1 / width, 1 - 0.12 / height
    figure.text(x, y, title, va="top", size=12, weight="bold")
    figure.text(1 - x, y, f"{len(pairs.masked):,} sampled entries of held-out cells", va="top", ha="right", color=MUTED)
    limits = _limits(pairs)
    grids = []
    for i, (heading, rows, agreement, colour) in enumerate(panels):
        box = ((LEFT + i * (PANEL + GAP)) / width, BOTTOM / height, PANEL / width, PANEL / height)
        axes = figure.add_axes(box)
        grids.append(_density(axes, pairs.measured[rows], pairs.reconstructed[rows], limits))
        axes.set_title(heading, color=colour, pad=16)
        axes.text(0, 1.02, _words(agreement), transform=axes.transAxes, fontsize=7.5, color=MUTED, va="bottom")
        axes.set_xlabel("Measured, on the scale of the model")
        if i == 0:
            axes.set_ylabel("Reconstructed")
    _bar(figure, grids, 1 - (0.55 + PANEL + 0.2 + GAP - 0.12) / width, BOTTOM / height, height)
    axes = figure.add_axes((1 - (PANEL + 0.2) / width, BOTTOM / height, PANEL / width, PANEL / height))
    _histogram(axes, [(heading, agreement, colour) for heading, _, agreement, colour in panels])
    return figure


def _limits(pairs: Pairs) -> tuple[float, float]:
    """Both axes alike; a few wild reconstructions do not shrink the rest."""
    top = max(float(pairs.measured.max()), float(np.quantile(pairs.reconstructed, 0.999, method="lower")))
    low = min(0.0, float(pairs.measured.min()), float(np.quantile(pairs.reconstructed, 0.001, method="higher")))
    pad = 0.02 * (top - low) or 0.5
    return low - pad, top + pad


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, limits: tuple[float, float]) -> Any:
    """Counts in hexagons; the dashed line is where a perfect reconstruction lies."""
    within = np.clip(y, *limits)
    grid = axes.hexbin(
        np.clip(x, *limits), within, gridsize=GRID, extent=(*limits, *limits), mincnt=1, cmap=COLOURS, linewidths=0.1
    )
    axes.plot(limits, limits, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set(xlim=limits, ylim=limits)
    axes.set_aspect("equal")
    return grid


def _bar(figure: Figure, grids: list[Any], left: float, bottom: float, height: float) -> None:
    """One scale of colours for all panels."""
    most = max(float(grid.get_array().max()) for grid in grids)
    for grid in grids:
        grid.set_norm(LogNorm(1, max(most, 2)))
    place = figure.add_axes((left, bottom, 0.1 / figure.get_figwidth(), PANEL / height))
    bar: Any = figure.colorbar(grids[0], cax=place)
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)
    bar.locator, bar.formatter = LogLocator(subs=(1, 3)), FuncFormatter(lambda value, _: f"{value:,.0f}")
    bar.update_ticks()
    bar.ax.set_title("entries", fontsize=7.5, color=MUTED, weight="normal", loc="left", pad=4)
    bar.ax.tick_params(labelsize=7.5, width=0.6)
    bar.ax.minorticks_off()


def _words(agreement: Agreement | None) -> str:
    if agreement is None:
        return "agreement was not computed"
    pearson = "not defined" if math.isnan(agreement.pearson) else f"{agreement.pearson:.3f}"
    return f"Pearson {pearson}, RMSE {agreement.rmse:.3f} over {agreement.entries:,} entries"


def _histogram(axes: Axes, kinds: list[tuple[str, Agreement | None, str]]) -> None:
    axes.set_title("Per gene", pad=16)
    axes.set_xlabel("Pearson correlation over held-out cells")
    axes.set_ylabel("Genes")
    found = [(a.per_gene, heading, colour) for heading, a, colour in kinds if a is not None and len(a.per_gene)]
    if not found:
        axes.text(0.5, 0.5, "no gene has a correlation", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set(xticks=[], yticks=[])
        return
    low = min(-0.2, *(float(values.min()) for values, _, _ in found))
    edges = np.linspace(math.floor(low * 20) / 20, 1.0, 41).tolist()
    axes.axvline(0, color=NOTHING, linewidth=0.9)
    for i, (values, heading, colour) in enumerate(found):
        axes.hist(values, edges, histtype="stepfilled", color=colour, alpha=0.3 if i == 0 else 0.18)
        axes.hist(values, edges, histtype="step", color=colour, linewidth=1.2)
        middle = float(np.median(values))
        axes.axvline(middle, color=colour, linewidth=1.1, linestyle=(0, (3, 2)), ymax=0.86)
        words = f"{'seen' if heading == SEEN else 'masked'}: median {middle:.2f}, {len(values):,} genes"
        look: Any = {"transform": axes.transAxes, "fontsize": 7.5, "va": "top"}
        axes.text(0.02, 0.99 - 0.055 * i, words, color=dark(colour, 0.2), **look)
    axes.set_ylim(0, 1.17 * axes.get_ylim()[1])
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
