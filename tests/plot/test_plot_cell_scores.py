"""Scores of single cells on the map: the second row of panels, its colours and what has no value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.plot import cell_scores, umap
from sclamp.plot.cell_scores import SCORES, limits, read_scores
from sclamp.plot.style import NOTHING
from sclamp.plot.tables import Category

N = 60
AT = np.random.default_rng(0).normal(size=(N, 2))
LABEL = {"label": Category(np.arange(N) % 2, ("a", "b"))}


def _scores(**changes: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    values = {"lisi_batch": rng.uniform(1, 3, N), "lisi_label": rng.uniform(1, 2, N)}
    return {**values, "silhouette_label": rng.uniform(-0.5, 0.9, N), **changes}


def _panels(figure: Any) -> dict[str, Any]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_each_score_has_a_panel_below_in_line_with_the_first_row() -> None:
    figure = umap.draw(AT, LABEL, "direct", N, _scores())
    panels = _panels(figure)
    assert list(panels)[:4] == ["Cell type", *(score.title for score in SCORES.values())]
    above, below = panels["Cell type"].get_position(), panels[SCORES["lisi_batch"].title].get_position()
    assert above.x0 == below.x0 and above.width == below.width and below.y1 < above.y0
    alone = umap.draw(AT, LABEL, "direct", N)
    assert list(_panels(alone)) == ["Cell type"]
    assert alone.get_figheight() < figure.get_figheight() / 1.7


def test_cells_have_the_colour_of_their_score_and_grey_without_one() -> None:
    values = np.linspace(-1, 1, N)
    values[:5] = np.nan
    axes = _panels(umap.draw(AT, LABEL, "", N, {"silhouette_label": values}))[SCORES["silhouette_label"].title]
    grey, known = axes.collections
    np.testing.assert_allclose(grey.get_offsets(), AT[:5])
    assert tuple(grey.get_facecolors()[0][:3]) == to_rgb(NOTHING)
    place = {tuple(spot): value for spot, value in zip(AT, values, strict=True)}
    np.testing.assert_array_equal(known.get_array(), [place[tuple(spot)] for spot in np.asarray(known.get_offsets())])
    assert known.norm.vmin == -known.norm.vmax
    assert "grey: 5 cells without a value" in [text.get_text() for text in axes.texts]


def test_the_colour_bar_ends_at_quantiles_and_shows_that_values_lie_beyond() -> None:
    values = np.concatenate([np.linspace(1, 2, N - 1), [100.0]])
    low, high = limits(values, signed=False)
    assert 1 <= low < 1.1 and 1.9 < high < 100
    assert limits(np.array([-0.1, 0.4]), signed=True) == pytest.approx((-0.39, 0.39))
    assert limits(np.ones(5), signed=False) == (1.0, 1.05)
    figure = umap.draw(AT, LABEL, "", N, {"lisi_batch": values})
    assert SCORES["lisi_batch"].meaning in [axes.get_ylabel() for axes in _bars(figure)]


def _bars(figure: Any) -> list[Any]:
    return [child for axes in figure.axes for child in [*axes.child_axes, axes]]


def test_a_score_that_no_cell_has_says_so() -> None:
    axes = _panels(umap.draw(AT, LABEL, "", N, _scores(lisi_batch=np.full(N, np.nan))))[SCORES["lisi_batch"].title]
    assert [text.get_text() for text in axes.texts] == ["no cell has this score"]


@pytest.mark.parametrize(("name", "signed"), [(cell_scores.SEQUENTIAL, False), (cell_scores.SIGNED, True)])
def test_lightness_tells_the_values_apart(name: str, signed: bool) -> None:
    """So that print in grey and colour-blind eyes see the order: monotone, or darkest in the middle."""
    rgb = matplotlib.colormaps[name](np.linspace(0, 1, 101))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(np.clip(linear @ [0.2126, 0.7152, 0.0722], 0.009, 1)) - 16
    steps = np.diff(lightness)
    if signed:
        assert abs(int(lightness.argmin()) - 50) < 6
        assert (steps[:45] < 0.2).all() and (steps[55:] > -0.2).all()
        red, blue = rgb[-1], rgb[0]
        assert red[0] > red[2] and blue[2] > blue[0]
    else:
        assert (steps > 0).all()


def test_scores_are_read_in_the_order_of_the_cells(tmp_path: Path) -> None:
    path = tmp_path / "cell_scores.parquet"
    write_table(
        path, {"cell_id": ["a", "b", "c"], "kbet": [0.0, 1.0, 1.0], "lisi_batch": np.array([1, 2, np.nan], "f4")}
    )
    found = read_scores(path, np.array(["c", "a"], dtype=object))
    assert list(found) == ["lisi_batch"]
    np.testing.assert_array_equal(found["lisi_batch"], [np.nan, 1])
    with pytest.raises(UserError, match="2 of 3 cells are not in this file; the first is 'x'"):
        read_scores(path, np.array(["x", "a", "y"], dtype=object))
    write_table(path, {"cell": ["a"]})
    with pytest.raises(UserError, match=r"column 'cell_id' does not exist; did you mean 'cell'"):
        read_scores(path, np.array(["a"], dtype=object))


def test_the_script_draws_both_rows(
    drawn: Callable[..., str], tiny_counts: Callable[..., Path], layout: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "cell_scores.parquet"
    rng = np.random.default_rng(0)
    columns = {name: rng.uniform(size=120).astype("f4") for name in SCORES}
    write_table(path, {"cell_id": [f"cell{i}" for i in range(120)], **columns})
    files = ("--umap", layout(), "--cells", tiny_counts(), "--title", "direct")
    words = drawn("plot_umap.py", *files, "--cell-scores", path)
    for text in ("direct", "Cell type", "Split", *(score.title for score in SCORES.values())):
        assert text in words
    words = drawn("plot_umap.py", *files)
    assert "LISI" not in words
