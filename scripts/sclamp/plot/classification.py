"""What a classifier confuses on held-out cells, and whether its probabilities hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sclamp.evaluate.classification import BINS, bins_of, confidence_of
from sclamp.evaluate.predictions import Scored
from sclamp.plot.style import INK, MUTED, NOTHING, RULE, TRAIN, VALIDATION, new_figure, short, styled

COLOURS = "Blues"
WIDEST, NARROWEST, LARGEST, SMALLEST = 6.6, 2.0, 0.46, 0.13
"""Inches: width of the matrix beyond which its squares shrink, room that it has at least, largest, smallest square."""
MOST_NUMBERS = 20
"""Labels up to which shares are written into the squares."""
PANEL, HISTOGRAM, GAP = 3.0, 0.8, 0.75
"""Inches: side of the reliability diagram, height of the histogram below it, space beside the matrix."""
NONE = "no label"


class Confusion(NamedTuple):
    """shares (rows, columns): of the cells of a true label that got each label. sizes (rows,): those cells.

    rows, columns: names; the true labels come first among the columns. unseen: true labels that training did not see.
    """

    shares: np.ndarray
    sizes: np.ndarray
    rows: list[str]
    columns: list[str]
    unseen: set[str]


class Reliability(NamedTuple):
    """Bins with cells: mean confidence, share of right labels, cells. error: the calibration error."""

    confidence: np.ndarray
    right: np.ndarray
    cells: np.ndarray
    error: float


def confusion(cells: Scored) -> Confusion:
    """Count who is taken for whom; labels are in the order of `cells.names`."""
    k = len(cells.names)
    guess = np.where(cells.predicted < 0, k, cells.predicted)
    table = np.bincount(cells.truth * (k + 1) + guess, minlength=k * (k + 1)).reshape(k, k + 1)
    true = np.flatnonzero(table.sum(axis=1) > 0)
    others = np.setdiff1d(np.flatnonzero(table.sum(axis=0) > 0), true)
    order = np.concatenate([true, others])
    sizes = table[true].sum(axis=1)
    names = [*cells.names, NONE]
    return Confusion(
        shares=table[np.ix_(true, order)] / sizes[:, None],
        sizes=sizes,
        rows=[names[i] for i in true],
        columns=[names[i] for i in order],
        unseen={names[i] for i in true if not cells.taught[i]},
    )


def reliability(cells: Scored) -> Reliability | None:
    """How often labels of about equal confidence are right; None for a model without probabilities."""
    confidence = confidence_of(cells)
    said = np.isfinite(confidence)
    if not cells.known.any() or not said.any():
        return None
    sure, right = confidence[said], (cells.truth == cells.predicted)[said].astype(np.float64)
    bins = bins_of(sure, BINS)
    n = np.bincount(bins, minlength=BINS)
    used = n > 0
    mean, share = (np.bincount(bins, values, BINS)[used] / n[used] for values in (sure, right))
    return Reliability(mean, share, n[used], float((n[used] * np.abs(mean - share)).sum() / n.sum()))


@styled
def draw(cells: Scored, title: str) -> Figure:
    """The confusion matrix, and beside it the reliability diagram."""
    found = confusion(cells)
    side = float(np.clip(WIDEST / len(found.columns), SMALLEST, LARGEST))
    size = 8.0 if side > 0.2 else 6.0
    wide, tall = side * len(found.columns), side * len(found.rows)
    letters = max(len(short(name)) for name in found.columns) * 0.0082 * size
    left, above = 0.3 + letters + 0.0082 * size * 7, 0.7 + letters
    below = max(tall, PANEL + HISTOGRAM + 0.55)
    x = left + max(wide, NARROWEST) + GAP
    width, height = x + PANEL + 0.25, above + below + 0.4
    figure = new_figure(width, height)
    figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", size=12, weight="bold")
    accuracy = float((cells.truth == cells.predicted).mean())
    words = f"{len(cells.truth):,} {'test' if cells.split == 'test' else 'validation'} cells, accuracy {accuracy:.3f}"
    figure.text(0.12 / width, 1 - 0.38 / height, words, va="top", color=MUTED, size=8)
    matrix = figure.add_axes((left / width, 1 - (above + tall) / height, wide / width, tall / height))
    _matrix(matrix, found, side, size)
    _notes(figure, found, left / width, 1 - (above + tall) / height, height)
    boxes = [
        (x / width, 1 - (above + PANEL) / height, PANEL / width, PANEL / height),
        (x / width, 1 - (above + PANEL + 0.12 + HISTOGRAM) / height, PANEL / width, HISTOGRAM / height),
    ]
    _reliability(figure.add_axes(boxes[0]), figure.add_axes(boxes[1]), reliability(cells))
    return figure


def _matrix(axes: Axes, found: Confusion, side: float, size: float) -> None:
    n_rows, n_columns = found.shares.shape
    scale = PowerNorm(0.5, 0, 1)  # a few percent must be seen
    shown = np.ma.masked_equal(found.shares, 0)
    axes.pcolormesh(np.arange(n_columns + 1), np.arange(n_rows + 1), shown, cmap=COLOURS, norm=scale, linewidth=0.3,
                    edgecolors="white", rasterized=found.shares.size > 2500)  # fmt: skip
    axes.set(xlim=(0, n_columns), ylim=(n_rows, 0))
    if n_columns <= MOST_NUMBERS:
        ink = ScalarMappable(scale, COLOURS)
        for row, column in zip(*np.nonzero(found.shares >= 0.005), strict=True):
            share = found.shares[row, column]
            light = float(np.mean(ink.to_rgba(share)[:3])) < 0.6
            axes.text(column + 0.5, row + 0.5, f"{100 * share:.0f}", ha="center", va="center",
                      fontsize=min(8.0, 19 * side), color="white" if light else INK)  # fmt: skip
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE)
    axes.tick_params(length=0, pad=2, top=False, labeltop=True, bottom=False, labelbottom=False, colors=INK)
    rows = [
        f"{short(n)}{'*' if n in found.unseen else ''}  {m:,}" for n, m in zip(found.rows, found.sizes, strict=True)
    ]
    axes.set_yticks(np.arange(n_rows) + 0.5, rows, fontsize=size)
    axes.set_xticks(np.arange(n_columns) + 0.5, [short(name) for name in found.columns], rotation=90, fontsize=size)
    axes.set_ylabel("True label, and its cells", color=MUTED)
    axes.set_xlabel("Predicted label", color=MUTED)
    axes.xaxis.set_label_position("top")


def _notes(figure: Figure, found: Confusion, left: float, bottom: float, height: float) -> None:
    words = (
        ["% of the cells of each true label"]
        if len(found.columns) <= MOST_NUMBERS
        else ["darker: larger share of the true label's cells"]
    )
    words += ["* no training cell has this label"] if found.unseen else []
    figure.text(left, bottom - 0.08 / height, "\n".join(words), va="top", fontsize=7.5, color=MUTED, linespacing=1.4)


def _reliability(axes: Axes, below: Axes, found: Reliability | None) -> None:
    axes.set_title("Do its probabilities hold?", pad=16)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    if found is None:
        axes.text(0.5, 0.5, "the model gives no probabilities", ha="center", color=MUTED)
        axes.set(xticks=[], yticks=[])
        below.set_visible(False)
        return
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    low, high = _wilson(found.right, found.cells)
    axes.vlines(found.confidence, low, high, color=TRAIN, linewidth=1.2, alpha=0.45)
    axes.plot(found.confidence, found.right, color=TRAIN, linewidth=0.9, alpha=0.45)
    axes.scatter(found.confidence, found.right, 8 + 90 * np.sqrt(found.cells / found.cells.sum()), TRAIN, clip_on=False)
    axes.set_ylabel("Share that is right")
    axes.tick_params(labelbottom=False)
    words = f"calibration error {found.error:.3f}; 95% intervals; larger: more cells"
    axes.text(0, 1.02, words, transform=axes.transAxes, fontsize=7.5, color=MUTED, va="bottom")
    axes.grid(color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    at = bins_of(found.confidence, BINS)
    below.bar((at + 0.5) / BINS, found.cells / found.cells.sum(), width=0.92 / BINS, color=VALIDATION, alpha=0.75)
    below.set(xlim=(0, 1), xlabel="Probability of the predicted label", ylabel="Cells")
    below.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    below.locator_params(axis="y", nbins=3)
    below.axhline(0, color=NOTHING, linewidth=0.7)


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% intervals of a share of n cells (Wilson 1927)."""
    z = 1.96
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half
