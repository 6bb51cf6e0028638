"""Run time and peak memory of the workflow's steps, from the benchmark files that Snakemake writes."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sclamp.plot.style import INK, MUTED, RULE, TRAIN, VALIDATION, new_figure, short, styled

ENDING = ".benchmark.tsv"
FOLDERS = ("logs", "datasets/*/logs", "datasets/*/models/*/*/logs")
NAMED = {
    "logs": {"gene_prior_": "build gene prior"},
    "datasets/*/logs": {"gene_prior_": "match gene prior", "genes_": "select genes", "left_out_": "leave genes out"},
}
"""Steps whose file names go on with the name of what they make."""
ROW, WIDTH, GAP = 0.26, 3.3, 0.75


class Step(NamedTuple):
    """All jobs of one step. seconds: of all together, NaN when none was measured. longest: of one job.

    memory: largest peak of a job in GB, NaN when none was measured.
    """

    name: str
    jobs: int
    seconds: float
    longest: float
    memory: float


def read_steps(results: str | Path) -> list[Step]:
    """Read every benchmark file of a results folder: steps, the longest first."""
    jobs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted(Path(results).glob(f"{folder}/*{ENDING}")):
            if numbers := _numbers(path):
                jobs[step_name(folder, path.name.removesuffix(ENDING))] += numbers
    steps = []
    for name, own in jobs.items():
        times = [seconds for seconds, _ in own if math.isfinite(seconds)]
        peaks = [memory for _, memory in own if math.isfinite(memory)]
        total = sum(times) if times else math.nan
        steps.append(Step(name, len(own), total, max(times, default=math.nan), max(peaks, default=math.nan)))
    return sorted(steps, key=lambda step: (-step.seconds if math.isfinite(step.seconds) else math.inf, step.name))


def step_name(folder: str, stem: str) -> str:
    """Words for the step whose benchmark file has this stem, in one of FOLDERS."""
    known = (words for start, words in NAMED.get(folder, {}).items() if stem.startswith(start))
    return next(known, stem.replace("_", " "))


def _numbers(path: Path) -> list[tuple[float, float]]:
    """Seconds and GB of each run of a job; NaN for what Snakemake could not measure, as in jobs that end at once."""
    with open(path, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return [(_number(row.get("s")), _number(row.get("max_rss")) / 1024) for row in rows]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


@styled
def draw(steps: list[Step], title: str) -> Figure:
    """Draw two bars per step: time of all its jobs, and the peak memory of its largest job."""
    left = 0.35 + 0.068 * max(len(_name(step)) for step in steps)
    tall = ROW * len(steps)
    width, height = left + 2 * WIDTH + GAP + 0.75, tall + 1.35
    figure = new_figure(width, height)
    figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", size=12, weight="bold")
    total = sum(step.seconds for step in steps if math.isfinite(step.seconds))
    jobs = sum(step.jobs for step in steps)
    words = f"{jobs:,} jobs, {duration(total)} in all"
    figure.text(1 - 0.12 / width, 1 - 0.12 / height, words, va="top", ha="right", color=MUTED)
    panels = []
    for i in range(2):
        x = left + i * (WIDTH + GAP)
        panels.append(figure.add_axes((x / width, 0.5 / height, WIDTH / width, tall / height)))
    unit, name = _unit(max((s.seconds for s in steps if math.isfinite(s.seconds)), default=1.0))
    longest = [step.longest / unit for step in steps]
    _bars(panels[0], [s.seconds / unit for s in steps], [duration(s.seconds) for s in steps], TRAIN, longest)
    _bars(panels[1], [s.memory for s in steps], [size(s.memory) for s in steps], VALIDATION)
    panels[0].set_title("Time of all jobs")
    panels[1].set_title("Peak memory of one job")
    panels[0].set_xlabel(f"{name} (dark: the longest job)" if any(step.jobs > 1 for step in steps) else name)
    panels[1].set_xlabel("GB")
    look: Any = {"transform": panels[0].get_yaxis_transform(), "ha": "right", "va": "center", "clip_on": False}
    for y, step in enumerate(steps):
        panels[0].text(-0.03, y, _name(step), fontsize=8.5, color=INK, **look)
    return figure


def _name(step: Step) -> str:
    return f"{short(step.name, 34)} ({step.jobs:,} job{'s' * (step.jobs != 1)})"


def _bars(axes: Axes, values: list[float], texts: list[str], colour: str, inner: list[float] | None = None) -> None:
    """Bars from the top; inner: their dark part, the whole bar without it."""
    places, known = list(range(len(values))), np.nan_to_num(values).tolist()
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    if inner is not None:
        axes.barh(places, known, height=0.68, color=pale(colour), linewidth=0)
    axes.barh(places, known if inner is None else np.nan_to_num(inner), height=0.68, color=colour, linewidth=0)
    most = max(known, default=0.0) or 1.0
    axes.set_xlim(0, most * 1.02)
    for y, value, text in zip(places, known, texts, strict=True):
        axes.text(value + most * 0.015, y, text, va="center", fontsize=7.5, color=MUTED, clip_on=False)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def pale(colour: str, share: float = 0.6) -> tuple[float, float, float]:
    """A colour mixed with white."""
    r, g, b = to_rgb(colour)
    return (r + (1 - r) * share, g + (1 - g) * share, b + (1 - b) * share)


def _unit(longest: float) -> tuple[float, str]:
    return (3600.0, "Hours") if longest >= 7200 else (60.0, "Minutes") if longest >= 120 else (1.0, "Seconds")


def duration(seconds: float) -> str:
    """Seconds in words: 41 s, 3 min 20 s, 2 h 5 min."""
    if not math.isfinite(seconds):
        return "not measured"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if seconds < 3600 and minutes < 60:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole} min {rest} s" if rest else f"{whole} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"


def size(gigabytes: float) -> str:
    """GB in words: 420 MB, 1.5 GB."""
    if not math.isfinite(gigabytes):
        return "not measured"
    return f"{gigabytes * 1024:.0f} MB" if gigabytes < 1 else f"{gigabytes:.1f} GB"
