"""Names are moved apart and stay inside the frame."""

import numpy as np
import pytest

from sclamp.plot import labels, style

FRAME = np.array([[0.0, 0.0], [1000.0, 800.0]])


def _overlaps(centres: np.ndarray, half: np.ndarray) -> int:
    gap = np.abs(centres[:, None] - centres[None]) - (half[:, None] + half[None])
    return int(np.triu((gap < -0.5).all(axis=2), 1).sum())


@pytest.mark.parametrize("where", ["at one point", "crowded", "beyond the edge"])
def test_boxes_end_up_apart_and_inside(where: str) -> None:
    rng = np.random.default_rng(1)
    start = {
        "at one point": np.full((12, 2), 400.0),
        "crowded": rng.uniform(300, 600, (40, 2)),
        "beyond the edge": np.array([[-50.0, 400.0], [1050.0, 400.0], [1040.0, 405.0]]),
    }[where]
    half = np.column_stack([rng.uniform(15, 40, len(start)), np.full(len(start), 7.0)])
    centres = labels.spread(start, half, FRAME, np.empty((0, 2)))
    assert _overlaps(centres, half) == 0
    assert (centres - half >= -1e-6).all() and (centres + half <= FRAME[1] + 1e-6).all()


def test_boxes_that_are_clear_stay_where_they_are() -> None:
    start = np.array([[100.0, 100.0], [500.0, 500.0]])
    centres = labels.spread(start, np.full((2, 2), 10.0), FRAME, np.empty((0, 2)))
    np.testing.assert_allclose(centres, start, atol=0.1)


def test_a_box_moves_off_a_point() -> None:
    centres = labels.spread(np.array([[400.0, 400.0]]), np.array([[30.0, 8.0]]), FRAME, np.array([[401.0, 402.0]]))
    away = np.abs(centres[0] - [401.0, 402.0])
    assert (away > [30, 8]).any()


def test_names_are_written_once_each_and_a_small_thing_is_not_covered() -> None:
    figure = style.new_figure(4, 4)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    labels.place(axes, np.array([[5.0, 5.0], [2.0, 2.0]]), ["small", "large"], reach=np.array([0.01, 3.0]))
    small, large = axes.texts
    assert (small.get_text(), large.get_text()) == ("small", "large")
    assert small.get_window_extent().y0 > axes.transData.transform((5, 5))[1]
    assert large.get_position() == pytest.approx((2, 2), abs=0.05)
