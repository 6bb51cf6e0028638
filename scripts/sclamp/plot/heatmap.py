"""Heatmap of marker genes: the genes nearest to each cell type in the model, and how held-out cells express them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.core.errors import UserError
from sclamp.data.h5ad import CountMap, read_cells
from sclamp.plot.style import INK, MUTED, NOTHING, colours, dark, new_figure, short, styled

PER_TYPE, MOST_ROWS, TOP_DIFFERENCE = 5, 130, 20
"""Genes per type; rows at most, beyond which each type has fewer; rank of expression up to which a gene is marked."""
HELD_OUT = ("val", "test")
COLOURS, FARTHEST = "RdBu_r", 3.0
ROW, COLUMN, BETWEEN, BAR = 0.155, 0.24, 0.05, 1.4
"""Inches: height of a gene, width of a cell type, space between the genes of two types, height of the colour bar."""
MOST_VECTORS = 2500
"""Cells of the heatmap beyond which the SVG holds them as an image."""


class Means(NamedTuple):
    """Mean z-scored log-normalised expression (genes, types), NaN for a type without cells; cells: how many, of which.

    A gene that is constant over these cells has 0 everywhere.
    """

    values: np.ndarray
    types: list[str]
    n_cells: int
    held_out: bool


def top_genes(markers: pd.DataFrame) -> pd.DataFrame:
    """The nearest genes of each type, in order: columns cell_type, gene_id, rank, difference_rank (NaN for none)."""
    n_types = max(markers["cell_type"].nunique(), 1)
    per_type = max(1, min(PER_TYPE, MOST_ROWS // n_types))
    best = markers[markers["rank"] <= per_type].sort_values(["cell_type", "rank"], key=_lower, kind="stable")
    ranks = pd.to_numeric(best["difference_rank"]).astype("float64")
    return best.assign(difference_rank=ranks).reset_index(drop=True)


def _lower(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str).str.lower()


def mean_expression(path: str | Path, genes: list[str]) -> Means:
    """Average z-scored log-normalised expression of genes per cell type, in one pass over a packed count file.

    Held-out cells where the file has any, otherwise all cells; z-scores are over the same cells. Cells without a label
    do not count. A gene that the file lacks is an error.
    """
    cells = read_cells(path)
    columns = cells.var.index.get_indexer(genes)
    if lost := [gene for gene, column in zip(genes, columns, strict=True) if column < 0]:
        raise UserError(
            f"{path}: {len(lost)} of {len(genes)} marker genes are not in this file; the first is '{lost[0]}'. "
            "Was the model trained on another gene selection?"
        )
    if "label" not in cells.obs:
        return Means(np.empty((len(genes), 0)), [], 0, False)
    label = cells.obs["label"].astype("category")
    codes, names = label.cat.codes.to_numpy().copy(), [str(name) for name in label.cat.categories]
    held_out = cells.obs["split"].isin(HELD_OUT).to_numpy() if "split" in cells.obs else np.zeros(len(codes), bool)
    some = bool((held_out & (codes >= 0)).any())
    codes[~held_out & some] = -1
    scale = cells.spec["recipe"]["target_sum"] / np.maximum(cells.obs["library_size"].to_numpy(np.float64), 1)
    sums, squares = _sums(CountMap(path), columns, codes, scale, len(names))
    sizes = np.bincount(codes[codes >= 0], minlength=len(names)).astype(float)
    n = max(sizes.sum(), 1.0)
    mean = sums.sum(axis=1) / n
    spread = np.sqrt(np.maximum(squares / n - mean**2, 0))
    centred = sums / np.where(sizes > 0, sizes, np.nan) - mean[:, None]
    values = np.where(spread[:, None] > 1e-6, centred / np.maximum(spread, 1e-6)[:, None], centred * 0)
    return Means(values, names, int(sizes.sum()), some)


def _sums(
    counts: CountMap, columns: np.ndarray, codes: np.ndarray, scale: np.ndarray, n_types: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-normalised expression of some genes: sum per type (genes, types), and sum of squares (genes,)."""
    sums, squares = np.zeros((len(columns), n_types)), np.zeros(len(columns))
    for rows, block in counts.blocks():
        used = np.flatnonzero(codes[rows] >= 0)
        values = np.log1p(block[used][:, columns].toarray() * scale[rows][used, None])
        sums += values.T @ np.eye(n_types)[codes[rows][used]]
        squares += np.square(values).sum(axis=0)
    return sums, squares


@styled
def draw(best: pd.DataFrame, means: Means, symbols: dict[str, str], title: str) -> Figure:
    """Draw the heatmap: best as from `top_genes`, means for its rows, symbols by gene id."""
    names = sorted(means.types, key=str.lower)
    values = means.values[:, [means.types.index(name) for name in names]]
    owners = best["cell_type"].astype(str).tolist()
    gaps = np.cumsum([0.0, *(BETWEEN * (a != b) for a, b in pairwise(owners))])
    tops = np.arange(len(best)) * ROW + gaps
    tall, wide = float(tops[-1] + ROW), COLUMN * len(names)
    shown = [short(symbols.get(gene) or gene, 16) for gene in best["gene_id"]]
    above = 0.75 + 0.062 * max(len(short(name)) for name in names)
    symbols_wide = 0.084 * max(len(name) for name in shown)
    left = 0.3 + 0.07 * max(len(short(name)) for name in owners) + symbols_wide
    width, height = max(left + wide + 1.1, 5.6), above + max(tall, BAR + 0.45) + 0.5
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, 1 - (above + tall) / height, wide / width, tall / height))
    scale = Normalize(-_limit(values), _limit(values))
    _cells(axes, values, tops, scale)
    _marks(axes, best, names, tops)
    look: Any = {"va": "center", "ha": "right", "fontsize": 7.5, "clip_on": False}
    for name, y in zip(shown, tops, strict=True):
        axes.text(-0.2, y + ROW / 2, name, color=INK, **look)
    _owners(axes, owners, tops, colours(means.types), -0.35 - symbols_wide / COLUMN)
    axes.set_xticks(np.arange(len(names)) + 0.5, [short(name) for name in names], rotation=90, fontsize=7.5)
    axes.set(xlim=(0, len(names)), ylim=(tall, 0), yticks=[])
    _head(figure, title, means, best)
    _bar(figure, scale, (left + wide + 0.25) / width, axes, means)
    return figure


def _owners(axes: Axes, owners: list[str], tops: np.ndarray, palette: dict[str, str], x: float) -> None:
    """Name the cell type of each group of genes, in the colour that it has on maps of cells."""
    look: Any = {"va": "center", "ha": "right", "fontsize": 7.5, "weight": "bold", "clip_on": False}
    for kind in dict.fromkeys(owners):
        own = [y for y, owner in zip(tops, owners, strict=True) if owner == kind]
        ink = palette.get(kind, MUTED)
        axes.text(x - 0.2, (own[0] + own[-1] + ROW) / 2, short(kind), color=dark(ink, 0.3), **look)
        ends = [own[0], own[-1] + ROW]
        axes.plot([x, x], ends, color=ink, linewidth=2, clip_on=False, solid_capstyle="butt")


def _limit(values: np.ndarray) -> float:
    known = np.abs(values[np.isfinite(values)])
    return float(np.clip(np.quantile(known, 0.98), 0.5, FARTHEST)) if known.size else 1.0


def _cells(axes: Axes, values: np.ndarray, tops: np.ndarray, scale: Normalize) -> None:
    """A row of rectangles per gene; grey where a type has no cells."""
    axes.set_facecolor("white")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False, pad=2)
    edges, many = np.arange(values.shape[1] + 1), values.size > MOST_VECTORS
    for row, y in zip(values, tops, strict=True):
        masked = np.ma.masked_invalid(row[None])
        if masked.mask.any():
            grey = ListedColormap([NOTHING])
            axes.pcolormesh(edges, [y, y + ROW], np.zeros_like(row[None]), cmap=grey, rasterized=many)
        axes.pcolormesh(edges, [y, y + ROW], masked, cmap=COLOURS, norm=scale, linewidth=0.3, edgecolors="white",
                        rasterized=many)  # fmt: skip


def _marks(axes: Axes, best: pd.DataFrame, names: list[str], tops: np.ndarray) -> None:
    """A dot where a gene of a type is also among the genes that held-out cells of the type express most."""
    for row, y in zip(best.to_dict("records"), tops, strict=True):
        if row["difference_rank"] <= TOP_DIFFERENCE and row["cell_type"] in names:
            x = names.index(row["cell_type"]) + 0.5
            axes.plot([x], [y + ROW / 2], marker="o", markersize=3.4, color="white", markeredgecolor=INK,
                      markeredgewidth=0.8, linestyle="", zorder=4)  # fmt: skip


def _head(figure: Figure, title: str, means: Means, best: pd.DataFrame) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", size=12, weight="bold")
    counts = best.groupby("cell_type", observed=True).size()
    words = f"{counts.max()} nearest genes of each cell type; {means.n_cells:,} "
    words += "held-out cells" if means.held_out else "cells (none are held out)"
    figure.text(0.12 / width, 1 - 0.38 / height, words, va="top", color=MUTED, size=8)
    known = best["difference_rank"].notna()
    hits = int((best["difference_rank"] <= TOP_DIFFERENCE).sum())
    dot = Line2D([], [], marker="o", markersize=3.6, color="white", markeredgecolor=INK, markeredgewidth=0.8, ls="")
    label = f"also among the {TOP_DIFFERENCE} genes with the largest difference in the type ({hits} of {known.sum()})"
    figure.legend([dot], [label], loc="lower left", bbox_to_anchor=(0, 0), fontsize=7.5, handletextpad=0.2)


def _bar(figure: Figure, scale: Normalize, left: float, axes: Axes, means: Means) -> None:
    width, height = figure.get_size_inches()
    box = axes.get_position()
    tall = BAR / height
    bar: Any = figure.colorbar(
        ScalarMappable(scale, COLOURS), cax=figure.add_axes((left, box.y1 - tall, 0.1 / width, tall)), extend="both"
    )
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)
    bar.ax.tick_params(labelsize=7, width=0.6)
    bar.ax.locator_params(nbins=5)
    bar.set_label("mean z-score", fontsize=7.5, color=MUTED)
    if np.isnan(means.values).any():
        words = "grey: type has\nno such cells"
        figure.text(left, box.y1 - tall - 0.15 / height, words, fontsize=7, color=MUTED, va="top")
