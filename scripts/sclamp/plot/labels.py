"""Names placed on a map so that they can be read: no two overlap, and a thin line leads back to the place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sclamp.plot.style import INK

POINT = 4.0
"""Half the width of a point that names keep clear of, in pixels."""


def place(
    axes: Axes,
    at: np.ndarray,
    names: Sequence[str],
    colours: Sequence[Any] | None = None,
    size: float = 8.0,
    reach: np.ndarray | None = None,
    avoid: np.ndarray | None = None,
) -> None:
    """Write names near positions (k, 2) in data coordinates, moved apart until their boxes are clear of each other.

    reach (k,): half the height of what is named; a name that would cover a small thing goes above it.
    avoid (m, 2): points that no name should cover.
    The figure must have its final size and axis limits, for the boxes are measured in pixels.
    """
    if not len(names):
        return
    # A pale box instead of an outline: outlined text would become curves in the SVG, which nobody can edit.
    pale = {"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.65}
    ink = list(colours) if colours is not None else [INK] * len(names)
    texts = [
        axes.text(x, y, name, ha="center", va="center", fontsize=size, color=c, bbox=pale, zorder=5)
        for (x, y), name, c in zip(at, names, ink, strict=True)
    ]
    figure: Any = axes.get_figure()
    renderer = figure.canvas.get_renderer()
    boxes = [t.get_window_extent(renderer) for t in texts]
    half = np.array([[b.width / 2 + 1.5, b.height / 2 + 1.0] for b in boxes])
    homes = axes.transData.transform(at)
    frame = axes.get_window_extent(renderer)
    start = homes.copy()
    if reach is not None:
        pixels = reach * frame.height / np.ptp(axes.get_ylim())
        start[:, 1] += np.where(pixels < 2 * half[:, 1], pixels + 1.6 * half[:, 1], 0.0)
    fixed = np.empty((0, 2)) if avoid is None else axes.transData.transform(avoid)
    centres = spread(start, half, np.array([[frame.x0, frame.y0], [frame.x1, frame.y1]]), fixed)
    to_data = axes.transData.inverted().transform
    near = 6 * figure.dpi / 100
    for text, home, wanted, box, centre, colour in zip(texts, homes, start, half, centres, ink, strict=True):
        text.set_position(to_data(centre))
        gap = home - centre
        edge = centre + gap * min(1.0, 1 / max(np.max(np.abs(gap) / box), 1e-9))  # where the line leaves the name
        if np.hypot(*(home - edge)) > near and np.hypot(*(wanted - centre)) > near:
            axes.plot(*zip(to_data(home), to_data(edge), strict=True), color=colour, linewidth=0.5, alpha=0.7, zorder=4)


def spread(start: np.ndarray, half: np.ndarray, frame: np.ndarray, fixed: np.ndarray, rounds: int = 500) -> np.ndarray:
    """Move boxes apart, in pixels: start (k, 2) centres, half (k, 2) half widths and heights, fixed (m, 2) points.

    Overlapping boxes push each other along the shorter way out, fixed points push the boxes that cover them; a weak
    pull leads home, and in the second half of the rounds boxes mind each other only. All stay inside the frame
    [[x0, y0], [x1, y1]].
    """
    centres = start + np.linspace(-1e-3, 1e-3, start.size).reshape(start.shape)  # parts boxes that coincide
    low, high = frame[0] + half, np.maximum(frame[1] - half, frame[0] + half)
    for turn in range(rounds):
        early = turn < rounds // 2
        push = 0.35 * _pushes(centres, half, centres, half)
        if early:
            push += 0.2 * _pushes(centres, half, fixed, np.full((len(fixed), 2), POINT)) + 0.02 * (start - centres)
        elif not push.any():
            break
        centres = np.clip(centres + push, low, high)
    return centres


def _pushes(centres: np.ndarray, half: np.ndarray, others: np.ndarray, other_half: np.ndarray) -> np.ndarray:
    """Sum of the ways out (k, 2) of each box from the other boxes that it overlaps."""
    delta = centres[:, None] - others[None]
    overlap = half[:, None] + other_half[None] - np.abs(delta)
    hit = (overlap > 0).all(axis=2) & (delta != 0).any(axis=2)
    along = overlap.argmin(axis=2)[..., None] == np.arange(2)
    return np.where(hit[..., None] & along, overlap * np.sign(delta), 0.0).sum(axis=1)
