"""Map of a gene embedding: genes that lie close in the embedding lie close on the map; marker genes are coloured."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.plot.labels import place
from sclamp.plot.style import MUTED, NOTHING, colours, dark, new_figure, short, styled

NEIGHBORS = 10
COLOURED, MOST_NAMES = 10, 70
"""Markers coloured per cell type; names written at most."""
MAP = 6.4


def layout(embedding: np.ndarray, seed: int = 0) -> np.ndarray:
    """Lay genes (g, k) out in the plane (g, 2): UMAP on the exact cosine neighbours; deterministic for a seed."""
    import faiss
    import igraph

    norms = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = np.ascontiguousarray(embedding / np.maximum(norms, 1e-12), dtype=np.float32)
    k = min(NEIGHBORS, len(unit) - 1)
    if k < 2:
        return unit[:, :2].astype(np.float64)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    near = index.search(unit, k + 1)[1]
    is_self = near == np.arange(len(unit))[:, None]
    is_self[~is_self.any(axis=1), -1] = True  # among duplicates a gene may miss itself: drop the farthest
    near = near[~is_self].reshape(len(unit), k)
    distance = 1.0 - np.einsum("gk,gnk->gn", unit, unit[near], optimize=True)
    edges = np.column_stack([np.repeat(np.arange(len(unit)), k), near.ravel()])
    igraph.set_random_number_generator(random.Random(seed))
    graph = igraph.Graph(n=len(unit), edges=edges)
    start = _principal_plane(unit)
    spots = graph.layout_umap(
        dist=np.maximum(distance, 0).ravel().tolist(), seed=start.tolist(), min_dist=0.2, epochs=_epochs(len(unit))
    )
    return np.asarray(spots.coords)


def _epochs(n: int) -> int:
    """Fewer epochs for more genes, from 200 down to 60: the layout costs genes x epochs, about 5 s at 20,000."""
    return int(np.clip(600_000 / n, 60, 200))


def _principal_plane(unit: np.ndarray) -> np.ndarray:
    centred = unit - unit.mean(axis=0)
    vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, :-3:-1]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    flat = centred @ vectors
    if flat.shape[1] < 2:
        flat = np.column_stack([flat, np.zeros(len(flat))])
    return 10 * flat / max(np.abs(flat).max(), 1e-12)


def frame(axes: Axes) -> None:
    """What every map of genes has around it: no ticks, equal scales, faint edges, names of its axes."""
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.04)
    for spine in axes.spines.values():
        spine.set_color(NOTHING)
    axes.set_xlabel("Gene map 1", fontsize=7, color=MUTED, loc="left", labelpad=2)
    axes.set_ylabel("Gene map 2", fontsize=7, color=MUTED, loc="bottom", labelpad=2)


@styled
def draw(
    at: np.ndarray, symbols: pd.Series, markers: pd.DataFrame, labels: Sequence[str], named: int, title: str
) -> Figure:
    """Draw genes at (g, 2).

    symbols: gene id -> symbol, in the order of `at`. markers: cell_type, gene_id, rank. labels: all cell types of the
    data, so that each has the colour that it has on the cells' maps. named: names per cell type.
    """
    types = sorted(markers["cell_type"].unique(), key=str.lower)
    everywhere = colours(list(dict.fromkeys([*labels, *types])))
    palette = {name: everywhere[name] for name in types}
    columns = 1 + (len(types) - 1) // 26 if types else 0
    side = columns * (0.4 + 0.066 * max((len(short(name)) for name in types), default=0)) if types else 0.1
    figure = new_figure(MAP + 0.35 + side, MAP + 0.55)
    width, height = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.25 / width, 0.22 / height, MAP / width, MAP / height - 0.02))
    rows = symbols.index.get_indexer(markers["gene_id"])
    shown = markers.assign(row=rows)[rows >= 0]
    plain = np.setdiff1d(np.arange(len(at)), shown["row"])
    size = float(np.clip(14000 / len(at), 1.5, 14))
    axes.scatter(at[plain, 0], at[plain, 1], s=size, color=NOTHING, linewidths=0, rasterized=True)
    inks = [palette[name] for name in shown["cell_type"]]
    x, y = at[shown["row"]].T
    axes.scatter(x, y, s=max(3 * size, 16), c=inks or None, linewidths=0.4, edgecolors="white", zorder=3)
    frame(axes)
    figure.text(0.25 / width, 1 - 0.12 / height, title, va="top", size=12, weight="bold")
    count = f"{len(at):,} genes, {len(shown)} markers coloured"
    figure.text((0.25 + MAP) / width, 1 - 0.14 / height, count, va="top", ha="right", color=MUTED)
    _name_genes(axes, at, shown, symbols, named, palette)
    _legend(axes, palette, columns)
    return figure


def _name_genes(
    axes: Axes, at: np.ndarray, shown: pd.DataFrame, symbols: pd.Series, named: int, palette: dict[str, str]
) -> None:
    """Name the best markers of each type; fewer per type where there are many types, so that names stay readable."""
    n_types = max(shown["cell_type"].nunique(), 1)
    best = shown[shown["rank"] <= max(1, min(named, MOST_NAMES // n_types))].head(MOST_NAMES)
    axes.apply_aspect()
    names = [str(symbols.iloc[row]) for row in best["row"]]
    inks = [dark(palette[name]) for name in best["cell_type"]]
    size = 7.5 if len(names) <= 45 else 6.5
    place(axes, at[best["row"]], names, inks, size=size, avoid=at[shown["row"]])


def _legend(axes: Axes, palette: dict[str, str], columns: int) -> None:
    if not palette:
        return
    marks = [Line2D([], [], marker="o", linestyle="", markersize=5, color=colour) for colour in palette.values()]
    names = [short(name) for name in palette]
    axes.legend(
        marks, names, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns, handletextpad=0.2, columnspacing=0.8,
        borderaxespad=0.3, title="Marker genes of", title_fontsize=8, alignment="left",
    )  # fmt: skip
