"""The cost of each step: what Snakemake measured, added up, in words that people use."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sclamp.core.errors import UserError
from sclamp.plot import cost
from sclamp.plot.cost import duration, read_steps, size, step_name

HEAD = "s\th:m:s\tmax_rss\tcpu_time\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Benchmark files where the workflow puts them; one job twice, one not measured, one file empty."""
    run = "datasets/d/models/m/seed_1/logs"
    files = {
        "logs/summary": "1.5\t0:00:01\t102.4\t1\n",
        "logs/gene_prior_text": "600\t0:10:00\t2048\t1\n",
        "datasets/d/logs/gene_prior_hvg_text": "2\t0:00:02\t512\t1\n",
        "datasets/d/logs/gene_prior_hvg_shuffled": "3\t0:00:03\t256\t1\n",
        "datasets/d/logs/genes_hvg": "NA\tNA\t-\tNA\n",
        f"{run}/train": "100\t0:01:40\t1024\t1\n50\t0:00:50\t3072\t1\n",
        f"{run}/plot_umap": "",
        "datasets/d/models/m/seed_1/left_out/train": "999\t0\t9999\t1\n",
    }
    for name, text in files.items():
        path = tmp_path / "results" / f"{name}.benchmark.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + text if text else "")
    return tmp_path / "results"


def test_jobs_of_a_step_are_added_up_and_the_longest_step_comes_first(results: Path) -> None:
    steps = read_steps(results)
    assert [(s.name, s.jobs, s.seconds, s.longest, s.memory) for s in steps[:4]] == [
        ("build gene prior", 1, 600, 600, 2), ("train", 2, 150, 100, 3), ("match gene prior", 2, 5, 3, 0.5),
        ("summary", 1, 1.5, 1.5, 0.1),
    ]  # fmt: skip
    assert (steps[4].name, steps[4].jobs, len(steps)) == ("select genes", 1, 5)
    assert math.isnan(steps[4].seconds) and math.isnan(steps[4].memory)


def test_bars_are_as_long_as_the_steps_took(results: Path) -> None:
    figure = cost.draw(read_steps(results), "Cost")
    times, memory = figure.axes
    widths = [bar.get_width() for bar in times.patches]
    assert widths[:5] == pytest.approx([10, 2.5, 5 / 60, 1.5 / 60, 0])  # minutes
    assert widths[5:] == pytest.approx([10, 100 / 60, 3 / 60, 1.5 / 60, 0])  # the longest job
    assert [bar.get_width() for bar in memory.patches] == pytest.approx([2, 3, 0.5, 0.1, 0])
    assert times.get_xlabel() == "Minutes (dark: the longest job)" and memory.get_xlabel() == "GB"
    texts = [text.get_text() for text in times.texts]
    assert texts[:5] == ["10 min", "2 min 30 s", "5.0 s", "1.5 s", "not measured"]
    assert texts[5:] == ["build gene prior (1 job)", "train (2 jobs)", "match gene prior (2 jobs)", "summary (1 job)",
                         "select genes (1 job)"]  # fmt: skip
    assert times.get_ylim() == memory.get_ylim() == (4.5, -0.5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (3599.7, "1 h"),
     (7260, "2 h 1 min"), (3_600_000, "1,000 h"), (math.nan, "not measured")],
)  # fmt: skip
def test_durations_are_worded(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_are_worded() -> None:
    assert [size(g) for g in (0.41, 1.5, math.nan)] == ["420 MB", "1.5 GB", "not measured"]


def test_a_step_that_takes_days_and_one_long_name(tmp_path: Path) -> None:
    steps = [cost.Step("a_step_with_quite_a_long_name_that_goes_on_and_on", 1200, 400_000.0, 9000.0, math.nan)]
    figure = cost.draw(steps, "Cost")
    assert figure.axes[0].get_xlabel() == "Hours (dark: the longest job)"
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    name = figure.axes[0].texts[-1]
    assert name.get_text().endswith("(1,200 jobs)")
    assert name.get_window_extent(renderer).x0 > 0


def test_the_script_draws_the_same_twice(drawn: Callable[..., str], results: Path) -> None:
    words = drawn("plot_cost.py", "--results", results, "--title", "Cost of the demo")
    for text in ("Cost of the demo", "7 jobs, 12 min 36 s in all", "train (2 jobs)", "Peak memory of one job"):
        assert text in words


def test_nothing_measured_and_no_folder(
    drawn: Callable[..., str], run_script: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "No benchmark file (*.benchmark.tsv) is below" in drawn("plot_cost.py", "--results", tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere is no folder"):
        run_script("plot_cost.py", "--results", tmp_path / "nowhere", "--output", tmp_path / "x.png")


@pytest.mark.parametrize(
    ("folder", "stem", "words"),
    [
        ("datasets/*/logs", "left_out_hvg_text_seed_1", "leave genes out"),
        ("datasets/*/models/*/*/logs", "left_out_genes", "left out genes"),
        ("logs", "gene_prior_text", "build gene prior"),
        ("datasets/*/logs", "gene_prior_hvg_text", "match gene prior"),
    ],
)
def test_steps_are_named_by_what_they_do_not_by_what_they_make(folder: str, stem: str, words: str) -> None:
    assert step_name(folder, stem) == words
