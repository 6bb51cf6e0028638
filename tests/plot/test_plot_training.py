"""Phases of a training stand side by side, in order, on shared axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sclamp.plot import training
from sclamp.plot.training import read_history


@pytest.fixture
def phases(history: Callable[..., Path]) -> Any:
    paths = [history("one.parquet"), history("two.parquet", parts=("reconstruction", "kl_genes"), epochs=60)]
    return training.draw([read_history(f"phase_{i}", path) for i, path in enumerate(paths)])


def _grid(figure: Any) -> list[list[Any]]:
    rows = len(figure.axes) // 2
    return [figure.axes[2 * i : 2 * i + 2] for i in range(rows)]


def test_phases_are_numbered_in_their_order(phases: Any) -> None:
    assert [axes.get_title(loc="left") for axes in _grid(phases)[0]] == ["1. phase_0", "2. phase_1"]


def test_rows_share_their_vertical_axis_and_columns_their_epochs(phases: Any) -> None:
    grid = _grid(phases)
    assert [row[0].get_ylabel() for row in grid] == ["Loss", "Reconstruction", "KL genes", "Beta", "Learning rate"]
    for left, right in grid:
        assert left.get_ylim() == right.get_ylim()
        assert right.get_xlim()[1] == grid[0][1].get_xlim()[1] > left.get_xlim()[1]


def test_a_part_that_a_phase_lacks_is_said_to_be_no_part_of_its_loss(phases: Any) -> None:
    left, right = _grid(phases)[2]
    assert [text.get_text() for text in left.texts] == ["not part of this loss"]
    assert "not part of this loss" not in [text.get_text() for text in right.texts]


def test_the_legend_lies_beneath_all_panels(phases: Any) -> None:
    renderer = phases.canvas.get_renderer()
    (legend,) = phases.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "training",
        "validation",
        "kept epoch",
        "warm-up of beta",
    ]
    top = legend.get_window_extent(renderer).y1
    assert all(axes.get_tightbbox(renderer).y0 >= top - 1 for axes in phases.axes)


def test_a_single_run_keeps_its_legend_inside(history: Callable[..., Path]) -> None:
    figure = training.draw([read_history("direct", history())])
    assert not figure.legends
    legend: Any = figure.axes[0].get_legend()
    assert "kept: epoch 31" in [text.get_text() for text in legend.get_texts()]
