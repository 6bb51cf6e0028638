"""The ranking orders models by what is calibrated, shows both kinds of noise, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.evaluate.calibrate import FLOORS as CALIBRATED_BY
from sclamp.plot import ranking
from sclamp.plot.standings import COLUMNS, blocks

MEANS = {"control_random": 0.4, "pca": 0.6, "good": 0.7, "weak": 0.5, "direct.prior=shuffled": 0.65,
         "control_label_onehot": 0.9, "control_batch_onehot": 0.1}  # fmt: skip
NAN = float("nan")


def intervals(seeds: int = 3, scopes: tuple[str, ...] = ("held_out", "all"), **changes: Any) -> pd.DataFrame:
    """A table like summary/intervals.parquet; the order of models is that of MEANS."""
    rows = []
    for scope in scopes:
        for metric in ("total", "bio", "batch"):
            for model, mean in MEANS.items():
                one = seeds == 1
                low, high = mean - 0.05, mean + 0.05
                numbers = (mean, NAN if one else mean - 0.02, NAN if one else mean + 0.02, low, high)
                ranked = "control" not in model and "prior=" not in model
                rank = {"good": 1, "pca": 1}.get(model, 3) if ranked else NAN
                near = [(value - 0.4) / 0.5 for value in (mean, low, high)]
                below = "pca,control_shuffled" if model == "weak" else ""
                key = ("pancreas", scope, "integration", metric, model, seeds)
                rows.append((*key, *numbers, *near, 0.4, 0.9, rank, below))
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(**changes)


def _panel(figure: Figure, title: str, block: int = 0) -> Axes:
    return [axes for axes in figure.axes if axes.get_title(loc="left") == title][block]


def _markers(axes: Axes) -> dict[float, tuple[float, str, str]]:
    """Row -> value, marker, colour of its face."""
    found = {}
    for line in axes.lines:
        if line.get_marker() not in ("None", None, ""):
            x, y = float(line.get_xdata()[0]), float(line.get_ydata()[0])
            found[y] = (x, str(line.get_marker()), str(line.get_markerfacecolor()))
    return found


def test_models_stand_in_the_order_of_their_calibrated_totals() -> None:
    found = blocks(intervals(), "pancreas", "pca")
    assert [block.scope for block in found] == ["held_out", "all"]
    order = ["control_label_onehot", "good", "direct.prior=shuffled", "pca", "weak", "control_random",
             "control_batch_onehot"]  # fmt: skip
    assert found[0].models == order
    figure = ranking.draw(found, "pancreas")
    values = {y: value for y, (value, _, _) in _markers(_panel(figure, "Total")).items()}
    expected = [(MEANS[model] - 0.4) / 0.5 for model in order]
    assert values == pytest.approx(dict(enumerate(expected[:-1])))  # the last lies beyond the axis
    assert "◂ -0.60" in [text.get_text() for text in _panel(figure, "Total").texts]


def test_kinds_have_their_own_marks_and_blame_falls_on_models_in_the_ranking_panel_only() -> None:
    figure = ranking.draw(blocks(intervals(), "pancreas", "pca"), "pancreas")
    total, bio = _markers(_panel(figure, "Total")), _markers(_panel(figure, "Bio"))
    assert [total[y][1] for y in range(6)] == ["D", "o", "o", "s", "v", "D"]
    assert [total[y][2] == "white" for y in range(6)] == [True, False, True, False, False, True]
    assert bio[4][1] == "o"
    names = [text.get_text() for text in _panel(figure, "Total").texts]
    assert "▼ weak" in names and "good" in names and "random" in names


def test_intervals_of_seeds_are_calibrated_like_the_rest() -> None:
    axes = _panel(ranking.draw(blocks(intervals(), "pancreas", "pca"), "pancreas"), "Total")
    spans = {(float(line.get_ydata()[0]), float(line.get_linewidth())): line.get_xdata() for line in axes.lines
             if len(line.get_xdata()) == 2}  # fmt: skip
    np.testing.assert_allclose(spans[1, 4.5], [(0.65 - 0.4) / 0.5, (0.75 - 0.4) / 0.5])
    np.testing.assert_allclose(spans[1, 1.1], [(0.68 - 0.4) / 0.5, (0.72 - 0.4) / 0.5])


def test_the_axis_holds_the_intervals_and_ends_where_controls_would_stretch_it() -> None:
    table = intervals()
    table.loc[table["model"] == "good", ["calibrated_low", "calibrated_high"]] = [-0.2, 1.3]
    low, high = _panel(ranking.draw(blocks(table, "pancreas", "pca"), "pancreas"), "Bio").get_xlim()
    assert -0.4 < low < -0.3 and 1.3 < high < 1.5
    table = table[table["model"] != "control_batch_onehot"]
    low, high = _panel(ranking.draw(blocks(table, "pancreas", "pca"), "pancreas"), "Bio").get_xlim()
    assert -0.3 < low < -0.2


def test_ranks_are_written_with_ties() -> None:
    texts = [t.get_text() for t in _panel(ranking.draw(blocks(intervals(), "pancreas", "pca"), "x"), "Total").texts]
    assert texts.count("=1") == 2 and "3" in texts
    unranked = intervals(rank=np.nan)
    texts = [t.get_text() for t in _panel(ranking.draw(blocks(unranked, "pancreas", None), "x"), "Total").texts]
    assert "Rank" not in texts and "=1" not in texts


def test_the_axis_names_the_floor_of_the_calibration() -> None:
    assert CALIBRATED_BY == {"bio": "control_random", "batch": "control_batch_onehot"}
    figure = ranking.draw(blocks(intervals(), "pancreas", "pca"), "pancreas")
    assert _panel(figure, "Total").get_xlabel() == _panel(figure, "Bio").get_xlabel() == "0: random, 1: perfect labels"
    assert _panel(figure, "Batch").get_xlabel() == "0: batches apart, 1: perfect labels"


def test_without_calibrated_values_the_raw_ones_are_shown_and_said_to_be_raw() -> None:
    table = intervals()
    table.loc[table["metric"] == "total", ["calibrated", "calibrated_low", "calibrated_high", "floor", "ceiling"]] = NAN
    figure = ranking.draw(blocks(table, "pancreas", "pca"), "pancreas")
    axes = _panel(figure, "Total")
    assert axes.get_xlabel() == "raw score"
    assert sorted(value for value, _, _ in _markers(axes).values()) == pytest.approx(sorted(MEANS.values()))
    words = " ".join(text.get_text() for text in figure.texts)
    assert "Raw, for lack of the controls that calibrate: Total." in words


def test_without_totals_bio_ranks() -> None:
    table = intervals(scopes=("all",))
    lost = table["metric"].isin(["total", "batch"])
    table.loc[lost, ["mean", "low", "high", "low_seeds", "high_seeds", "calibrated", "calibrated_low"]] = NAN
    table.loc[(table["model"] == "good") & (table["metric"] == "bio"), ["mean", "calibrated"]] = NAN
    (block,) = blocks(table, "pancreas", "pca")
    assert block.ranking is not None and block.ranking.metric == "bio"
    assert block.models[-1] == "good"
    figure = ranking.draw([block], "pancreas")
    texts = [text.get_text() for text in _panel(figure, "Total").texts]
    assert "no model\nhas this score" in texts and "no value" in texts


@pytest.mark.parametrize(
    ("seeds", "changes", "words"),
    [
        (1, {}, "One seed: intervals over cells only."),
        (3, {}, "Intervals over cells and seeds (3 seeds)."),
        (1, dict.fromkeys(("low", "high", "calibrated_low", "calibrated_high"), NAN), "No intervals were computed."),
    ],
)
def test_the_note_says_which_noise_is_shown(seeds: int, changes: dict[str, float], words: str) -> None:
    figure = ranking.draw(blocks(intervals(seeds, **changes), "pancreas", "pca"), "pancreas")
    assert words in figure.texts[-1].get_text().replace("\n", " ")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("of seeds alone" in labels) == (seeds > 1)


def test_names_of_many_models_do_not_overlap() -> None:
    table = intervals()
    extra = [table.assign(model=table["model"] + f"_a_rather_long_name_of_a_model_number_{i}") for i in range(4)]
    figure = ranking.draw(blocks(pd.concat([table, *extra]), "pancreas", "pca"), "pancreas")
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axes = _panel(figure, "Total")
    boxes = [t.get_window_extent(renderer) for t in axes.texts if t.get_text() and "◂" not in t.get_text()]
    frame = axes.get_window_extent(renderer)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and not (box.x0 < frame.x1 and box.x1 > frame.x0 + 1)
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_the_script_draws_the_same_twice(drawn: Callable[..., str], tmp_path: Path) -> None:
    write_table(tmp_path / "intervals.parquet", intervals())
    words = drawn("plot_ranking.py", "--intervals", tmp_path / "intervals.parquet", "--dataset", "pancreas",
                  "--baseline", "pca")  # fmt: skip
    for text in ("pancreas: ranking", "Held-out cells", "All cells", "▼ weak", "0.60 [0.50, 0.70]", "prior replaced"):
        assert text in words


def test_a_dataset_without_scores_and_a_foreign_table(
    drawn: Callable[..., str], run_script: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "intervals.parquet"
    write_table(path, intervals().iloc[:0])
    words = drawn("plot_ranking.py", "--intervals", path, "--dataset", "pancreas")
    assert "has no total, bio or batch score of this data set" in words
    write_table(path, intervals().rename(columns={"calibrated": "calibrate"}))
    with pytest.raises(UserError, match=r"column 'calibrated' does not exist; did you mean 'calibrate'"):
        run_script("plot_ranking.py", "--intervals", path, "--dataset", "pancreas", "--output", tmp_path / "x.png")
