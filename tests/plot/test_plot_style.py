"""The palette can be told apart, also by colour-blind eyes; equal figures give equal bytes."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sclamp.plot import style

# Machado et al. 2009, severity 1, on linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def _lab(colours: tuple[str, ...], eye: np.ndarray) -> np.ndarray:
    """CIELAB (D65), another space than the one in which the palette was made."""
    rgb = np.array([to_rgb(c) for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ eye.T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])


@pytest.mark.parametrize(
    ("eye", "least"), [(np.eye(3), 10.0), (DEUTERANOPIA, 5.0), (PROTANOPIA, 5.0)], ids=["normal", "deutan", "protan"]
)
def test_the_first_twenty_colours_differ(eye: np.ndarray, least: float) -> None:
    lab = _lab(style.PALETTE[:20], eye)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(20, 1)]
    assert distance.min() > least


def test_all_colours_are_distinct_and_visible_on_white() -> None:
    assert len(set(style.PALETTE)) == len(style.PALETTE) == 48
    assert _lab(style.PALETTE, np.eye(3))[:, 0].max() < 88


def test_names_beyond_the_palette_reuse_it() -> None:
    assert style.colours([str(i) for i in range(49)])["48"] == style.PALETTE[0]


def test_the_look_holds_for_our_figures_only() -> None:
    seen = style.styled(lambda: matplotlib.rcParams["axes.titlelocation"])()
    assert (seen, matplotlib.rcParams["axes.titlelocation"]) == ("left", "center")


def test_long_names_keep_both_ends() -> None:
    assert style.short("CD8-positive, alpha-beta memory T cell, CD45RO-positive") == "CD8-positive, ...-positive"
    assert style.short("beta") == "beta"


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = style.new_figure(2, 2)
        axes = figure.subplots()
        axes.fill_between([0, 1], [0, 1])
        axes.scatter(np.arange(50), np.arange(50), rasterized=True, clip_on=True)
        style.save(figure, tmp_path / f"{name}.png", 80)
    for ending in ("png", "svg"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert b"<text" in (tmp_path / "one.svg").read_bytes(), "text stays text, so that it can be edited"


def test_a_figure_without_content_says_why_inside_of_its_frame() -> None:
    why = "A long reason that must be broken into several lines, for otherwise it would leave the figure. " * 3
    figure = style.nothing("Ranking", why, "And another one.")
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    heading, text = figure.texts
    assert heading.get_text() == "Ranking"
    assert " ".join(text.get_text().split()) == f"{why}And another one."
    box = text.get_window_extent(renderer)
    assert box.x1 <= figure.bbox.width and box.y0 >= 0 and not box.overlaps(heading.get_window_extent(renderer))
