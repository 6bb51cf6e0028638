"""Calibrated ranking: a row per model, best first, with intervals on a scale from a random to a perfect embedding."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sclamp.plot.metrics import GROUP_COLOURS
from sclamp.plot.scoreboard import CONTROL, SCOPES, Kind
from sclamp.plot.standings import Block, Panel, Point
from sclamp.plot.style import BAD, INK, MUTED, RULE, new_figure, short, styled

ROW, HEAD, FOOT = 0.235, 0.62, 0.42
"""Inches: height of a row, of a block's headings, of its axis."""
WIDTHS = {"total": 3.1, "bio": 2.2, "batch": 2.2}
NUMBERS, GAP = 1.18, 0.22
FARTHEST = (-0.3, 1.5)
"""Calibrated values beyond are written at the edge: a perfect labelling that mixes batches badly stretches the rest."""
TITLES = {"total": "Total", "bio": "Bio", "batch": "Batch"}
FLOORS = {"batch": "batches apart"}
"""What 0 stands for where it is no random embedding, which mixes batches perfectly (`sclamp.evaluate.calibrate`)."""
MARKS: dict[Kind, str] = {"model": "o", "baseline": "s", "prior": "o", "control": "D"}
UNRANKED: tuple[Kind, ...] = ("prior", "control")
"""Kinds that do not compete: drawn hollow, and no shame to them in a low score."""


@styled
def draw(blocks: list[Block], dataset: str) -> Figure:
    """Draw a row of panels per block: total, bio and batch, models in the order of the block."""
    names = max(len(_name(block, model)) for block in blocks for model in block.models)
    left = 0.6 + 0.068 * names
    width = left + sum(WIDTHS.values()) + NUMBERS + 2 * GAP + 0.2
    notes = textwrap.wrap(" ".join(_notes(blocks)), int(width * 15.5))
    heights = [HEAD + ROW * len(block.models) + FOOT for block in blocks]
    height = 0.4 + sum(heights) + 0.35 + 0.16 * len(notes)
    figure = new_figure(width, height)
    figure.text(0.12 / width, 1 - 0.12 / height, f"{dataset}: ranking", va="top", size=12, weight="bold")
    top = height - 0.4
    for block, own in zip(blocks, heights, strict=True):
        _draw_block(figure, block, left, top)
        top -= own
    _legend(figure, blocks, top / height)
    figure.text(0.12 / width, 0.08 / height, "\n".join(notes), size=7.5, color=MUTED, va="bottom", linespacing=1.3)
    return figure


def _draw_block(figure: Figure, block: Block, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    tall = ROW * len(block.models)
    x = left
    title = SCOPES.get(block.scope, block.scope).capitalize()
    figure.text(0.12 / width, (top - 0.2) / height, title, size=10, weight="bold", va="center")
    for panel in block.panels:
        box = (x / width, (top - HEAD - tall) / height, WIDTHS[panel.metric] / width, tall / height)
        axes = figure.add_axes(box)
        _draw_panel(axes, block, panel)
        if panel is block.panels[0]:
            _draw_names(axes, block, left)
            x += NUMBERS
        x += WIDTHS[panel.metric] + GAP


def _draw_panel(axes: Axes, block: Block, panel: Panel) -> None:
    colour = GROUP_COLOURS["aggregate" if panel.metric == "total" else panel.metric]
    axes.set_title(TITLES[panel.metric], color=colour, pad=5)
    axes.set_ylim(len(block.models) - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.hlines(range(len(block.models)), 0, 1, transform=axes.get_yaxis_transform(), color=RULE, linewidth=0.5)
    low, high = _limits(panel)
    axes.set_xlim(low, high)
    words = f"0: {FLOORS.get(panel.metric, 'random')}, 1: perfect labels" if panel.calibrated else "raw score"
    axes.set_xlabel(words, fontsize=8, labelpad=2)
    if panel.calibrated:
        axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        axes.axvline(1, color=MUTED, linewidth=0.9, zorder=1)
    if not panel.values():
        axes.text(0.5, 0.5, "no model\nhas this score", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        axes.set(xticks=[], xlabel="")
    for y, model in enumerate(block.models):
        point = panel.points.get(model)
        if point is not None and point.known:
            kind = block.kinds[model]
            blamed = panel is block.ranking and bool(point.below) and kind not in UNRANKED
            _draw_point(axes, point, y, "v" if blamed else MARKS[kind], BAD if blamed else colour, kind in UNRANKED)


def _draw_point(axes: Axes, point: Point, y: int, marker: str, colour: str, hollow: bool) -> None:
    low, high = axes.get_xlim()
    ink = MUTED if hollow else colour
    if not low <= point.value <= high:
        arrow = f"◂ {point.value:.2f}" if point.value < low else f"{point.value:.2f} ▸"
        place = {"x": 0.01, "ha": "left"} if point.value < low else {"x": 0.99, "ha": "right"}
        axes.text(y=y, s=arrow, va="center", fontsize=7, color=ink, transform=axes.get_yaxis_transform(), **place)  # type: ignore[arg-type]
        return
    axes.plot([point.low, point.high], [y, y], color=ink, linewidth=4.5, alpha=0.35, solid_capstyle="butt", zorder=2)
    axes.plot([point.low_seeds, point.high_seeds], [y, y], color=ink, linewidth=1.1, solid_capstyle="butt", zorder=3)
    look: Any = {"marker": marker, "markersize": 4.8 if marker == "D" else 5.5, "linestyle": "", "zorder": 4}
    axes.plot([point.value], [y], color=ink, markerfacecolor="white" if hollow else ink, markeredgewidth=1.0, **look)


def _draw_names(axes: Axes, block: Block, left: float) -> None:
    """Ranks and names to the left of the first panel, values to its right."""
    inch = 1 / WIDTHS["total"]
    across = axes.get_yaxis_transform()
    ranks = Counter(block.ranking.values("rank") if block.ranking else [])
    for words, x in (("Rank" * bool(ranks), 0.12), ("Model", 0.5)):
        axes.text((x - left) * inch, -0.85, words, transform=across, fontsize=7.5, color=MUTED)
    for y, model in enumerate(block.models):
        point = block.standing(model)
        look: Any = {"transform": across, "va": "center", "clip_on": False}
        if point is not None and point.known and math.isfinite(point.rank):
            rank = f"{'=' if ranks[point.rank] > 1 else ''}{point.rank:.0f}"
            axes.text((0.38 - left) * inch, y, rank, ha="right", fontsize=8.5, weight="bold", **look)
        apart = block.kinds[model] in UNRANKED
        style = "italic" if apart else "normal"
        ink = MUTED if apart else BAD if point is not None and point.below else INK
        axes.text((0.5 - left) * inch, y, _name(block, model), fontsize=8.5, color=ink, style=style, **look)
        shown = block.panels[0].points.get(model)
        axes.text(1 + 0.1 * inch, y, _numbers(shown), fontsize=7.5, color=MUTED, **look)


def _numbers(point: Point | None) -> str:
    if point is None or not point.known:
        return "no value"
    interval = f" [{point.low:.2f}, {point.high:.2f}]" if math.isfinite(point.low + point.high) else ""
    return f"{point.value:.2f}{interval}".replace("-0.00", "0.00")


def _name(block: Block, model: str) -> str:
    name = short(model.removeprefix(CONTROL), 34)
    point = block.standing(model)
    return f"▼ {name}" if point is not None and point.below and block.kinds[model] not in UNRANKED else name


def _limits(panel: Panel) -> tuple[float, float]:
    """A calibrated panel always shows 0 and 1, and nothing beyond FARTHEST."""
    values = [v for field in ("value", "low", "high", "low_seeds", "high_seeds") for v in panel.values(field)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if panel.calibrated:
        low, high = max(min(low, 0.0), FARTHEST[0]), min(max(high, 1.0), FARTHEST[1])
    pad = 0.05 * (high - low) or 0.05
    return low - pad, high + pad


def _legend(figure: Figure, blocks: list[Block], top: float) -> None:
    kinds = {kind for block in blocks for kind in block.kinds.values()}
    line: Any = {"linestyle": "", "markersize": 5.5}
    words: dict[Kind, str] = {"model": "model", "baseline": "baseline", "prior": "prior replaced", "control": "control"}
    marks = []
    for kind in [kind for kind in words if kind in kinds]:
        ink = MUTED if kind in UNRANKED else GROUP_COLOURS["aggregate"]
        face = "white" if kind in UNRANKED else ink
        marks.append(Line2D([], [], marker=MARKS[kind], color=ink, markerfacecolor=face, label=words[kind], **line))
    marks.append(Line2D([], [], marker="v", color=BAD, label="Total below a control", **line))
    if _any(blocks, "low"):
        marks.append(Line2D([], [], color=GROUP_COLOURS["aggregate"], linewidth=4.5, alpha=0.35, label="95% interval"))
    if _any(blocks, "low_seeds"):
        marks.append(Line2D([], [], color=GROUP_COLOURS["aggregate"], linewidth=1.1, label="of seeds alone"))
    figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(0.0, top), ncols=len(marks), columnspacing=1.1)


def _any(blocks: list[Block], field: str) -> bool:
    return any(panel.values(field) for block in blocks for panel in block.panels)


def _notes(blocks: list[Block]) -> list[str]:
    notes = []
    most = max(block.most_seeds for block in blocks)
    if not _any(blocks, "low"):
        notes.append("No intervals were computed.")
    elif most <= 1:
        notes.append("One seed: intervals over cells only.")
    else:
        notes.append(f"Intervals over cells and seeds ({most} seeds).")
    if any(block.ranking.values("rank") for block in blocks if block.ranking):
        notes.append("Rank 1: no model is significantly better; =: shared.")
    if raw := dict.fromkeys(TITLES[p.metric] for b in blocks for p in b.panels if not p.calibrated and p.values()):
        notes.append(f"Raw, for lack of the controls that calibrate: {', '.join(raw)}.")
    if any(p.calibrated for b in blocks for p in b.panels):
        notes.append("Calibrated between the controls under each axis.")
    return notes
