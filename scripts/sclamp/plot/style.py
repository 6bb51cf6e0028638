"""Colours, fonts and saving: the one look of all figures."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sclamp.core.files import written_aside

# The first six are Okabe and Ito's (2008) and a brown. The rest were chosen one by one, each as far as possible (OKLab)
# from all before it, as seen by normal, deuteranopic and protanopic eyes, at medium lightness and chroma.
PALETTE = tuple(
    f"#{digits}"
    for row in (
        "0072B2 E69F00 009E73 CC79A7 D55E00 56B4E9 8B5A2B 680068 17DCA2 800000 8B74F3 462EAE",
        "A22E74 23463A 00DCF3 A2AE74 B9D15D 5D5DDC 80748B 688BD1 C5A2B9 51805D 5D513A 003A8B",
        "515197 8B97FF E8803A 742E5D A2000C 2351C5 DC4651 AEC5D1 006880 E86880 AE46AE D1B980",
        "468B00 E88BDC F3B900 9774AE 973A51 800C3A 0CA2A2 68B997 2E80D1 8BA246 80C55D 74C5FF",
    )
    for digits in row.split()
)
INK, MUTED, RULE, NOTHING = "#1A1D21", "#5F6872", "#D5DAE0", "#CFD4DA"
TRAIN, VALIDATION, BAD = "#0072B2", "#D55E00", "#B3261E"

_LOOK: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "sclamp",
    "path.simplify": True,
}


Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(draw: Draw) -> Draw:
    """Decorate a function that draws or saves: our look holds inside of it, and nowhere else."""
    return cast(Draw, matplotlib.rc_context(_LOOK)(draw))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, drawn without a screen."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def colours(names: Sequence[str]) -> dict[str, str]:
    """Name -> colour, in the order given; colours repeat beyond 48 names."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


@styled
def save(figure: Figure, png: str | Path, dpi: int, origin: dict[str, Any] | None = None) -> None:
    """Write X.png and, beside it, X.svg; equal figures give equal bytes (no dates, no random ids).

    origin: provenance, stored as JSON in the PNG's text "sclamp" and in the SVG's dc:source.
    """
    png, text = Path(png), json.dumps(origin) if origin else None
    with written_aside(png) as aside:
        figure.savefig(aside, format="png", dpi=dpi, metadata={"Software": None} | ({"sclamp": text} if text else {}))
    about = {"Date": None, "Creator": None} | ({"Source": text} if text else {})
    with written_aside(png.with_suffix(".svg")) as aside:
        figure.savefig(aside, format="svg", dpi=dpi, metadata=about)


@styled
def nothing(title: str, *why: str) -> Figure:
    """A figure in place of one that cannot be drawn: its heading, and why there is nothing to draw."""
    lines = [line for reason in why for line in textwrap.wrap(reason, 84)]
    figure = new_figure(6.5, 0.75 + 0.19 * len(lines))
    figure.text(0.02, 1 - 0.14 / figure.get_figheight(), title, va="top", size=12, weight="bold")
    text = "\n".join(lines)
    figure.text(0.02, 1 - 0.5 / figure.get_figheight(), text, va="top", color=MUTED, linespacing=1.35)
    return figure


def short(name: str, most: int = 26) -> str:
    """A long name without its middle: names of cell types differ at their ends as often as at their beginnings."""
    return name if len(name) <= most else f"{name[: most - 12]}...{name[-9:]}"


def dark(colour: str, share: float = 0.45) -> tuple[float, float, float]:
    """A colour mixed with black, for text that must be read on white."""
    r, g, b = matplotlib.colors.to_rgb(colour)
    return (r * (1 - share), g * (1 - share), b * (1 - share))
