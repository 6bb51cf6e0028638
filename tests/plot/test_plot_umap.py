"""The panels of a map: as flat as the layout, and as long as their legends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sclamp.plot import umap
from sclamp.plot.style import PALETTE
from sclamp.plot.tables import Category

AT = np.random.default_rng(0).uniform(size=(400, 2))


def _category(n: int) -> Category:
    return Category(np.arange(400) % n, tuple(f"CD{i}-positive, alpha-beta memory T cell {i}" for i in range(n)))


@pytest.mark.parametrize(("flatness", "expected"), [(1.0, 1.0), (0.8, 0.8), (0.3, 0.62), (5.0, 1.0)])
def test_a_flat_layout_gets_flat_panels(flatness: float, expected: float) -> None:
    at = np.array([[0.0, 0.0], [1.0, flatness]] * 10)
    figure = umap.draw(at, {"batch": Category(np.arange(20) % 2, ("a", "b"))}, "direct", 20)
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n", [20, 21, 40, 41, 60])
def test_long_legends_fit_into_the_figure(n: int) -> None:
    figure = umap.draw(AT * [1, 0.1], {"batch": _category(n), "split": _category(3)}, "direct", 400)
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    box = figure.axes[0].get_legend().get_window_extent(renderer)
    assert box.y0 >= 0 and box.x1 <= figure.axes[1].get_window_extent().x0


def test_types_are_named_on_the_map_or_in_a_legend() -> None:
    few, many = (umap.draw(AT, {"label": _category(n)}, "direct", 400).axes[0] for n in (3, 30))
    assert few.get_legend() is None and len([t for t in few.texts if "positive" in t.get_text()]) == 3
    legend: Any = many.get_legend()
    assert len(legend.get_texts()) == 30


def test_cells_without_a_category_are_named_in_the_legend() -> None:
    codes = np.where(np.arange(400) < 10, -1, 0)
    codes[-1] = 1
    figure = umap.draw(AT, {"batch": Category(codes, ("a", "b"))}, "direct", 500)
    legend: Any = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "not known"]
    assert legend.legend_handles[0].get_color() == PALETTE[0]
    assert "400 of 500 cells drawn" in [text.get_text() for text in figure.texts]


def test_a_long_heading_leaves_room_for_the_number_of_cells() -> None:
    title = "direct_with_a_very_long_name_of_a_model_that_reads_text_and_protein.prior=shuffled"
    figure = umap.draw(AT, {"label": _category(3)}, title, 400)
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    heading, count = (text.get_window_extent(renderer) for text in figure.texts)
    assert heading.x1 < count.x0
