"""What a prior adds: a point per model, control and score, filled where it is significant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.plot import prior_benefit
from sclamp.plot.prior_benefit import COLUMNS, SCORES, round_down
from sclamp.plot.style import BAD, MUTED, TRAIN

NAN = float("nan")


def comparisons(seeds: int = 3) -> pd.DataFrame:
    """Two models against two controls on every score; lobo on all cells, total on both sets of cells."""
    rows = []
    for task, metric in SCORES:
        for scope in ("all",) if metric.startswith("lobo") else ("all", "held_out"):
            for model in ("stepwise", "direct"):
                for control, difference in (("shuffled", 0.04), ("none", -0.03)):
                    shift = 0.0 if scope == "held_out" else 0.5
                    better = "model" if difference > 0 else "other" if model == "direct" else "neither"
                    other = f"{model}.prior={control}"
                    value = difference + shift
                    rows.append(("pancreas", scope, task, metric, "prior", model, other, seeds, value, value - 0.01,
                                 value + 0.01, better))  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _points(axes: Axes) -> list[tuple[float, str, bool]]:
    """Value, colour, filled, from top to bottom."""
    marks = sorted((line for line in axes.lines if line.get_marker() == "o"), key=lambda line: line.get_ydata()[0])
    values = [round(float(mark.get_xdata()[0]), 6) for mark in marks]
    inks = [to_hex(mark.get_color()).upper() for mark in marks]
    return list(zip(values, inks, [mark.get_markerfacecolor() != "white" for mark in marks], strict=True))


def test_a_panel_per_score_with_held_out_cells_where_there_are_any() -> None:
    figure = prior_benefit.draw(comparisons(), "pancreas")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(SCORES.values())
    scopes = [next(t.get_text() for t in axes.texts if t.get_text().endswith("cells")) for axes in figure.axes]
    assert scopes == ["held-out cells", "all cells", *["held-out cells"] * 6]
    expected = [(0.04, TRAIN, True), (-0.03, MUTED, False), (0.04, TRAIN, True), (-0.03, BAD, True)]
    assert _points(figure.axes[0]) == expected
    assert [value for value, _, _ in _points(figure.axes[1])] == pytest.approx([0.54, 0.47, 0.54, 0.47])


def test_models_stay_in_their_order_and_controls_are_worded() -> None:
    texts = [t.get_text() for t in prior_benefit.draw(comparisons(), "pancreas").axes[0].texts]
    named = [t for t in texts if not t.endswith("cells")]
    assert named == ["stepwise", "vs shuffled", "vs no prior", "direct", "vs shuffled", "vs no prior"]


def test_zero_is_in_the_middle_with_round_ticks() -> None:
    for axes in prior_benefit.draw(comparisons(), "pancreas").axes:
        low, high = axes.get_xlim()
        assert low == pytest.approx(-high)
        left, middle, right = axes.get_xticks()
        assert (middle, left) == (0, -right) and 0.4 * high < right < high
    assert [round_down(v) for v in (0.1, 0.0999, 3.7, 0.00051)] == [0.1, 0.09, 3.0, 0.0005]


def test_a_pair_without_a_value_says_so_and_others_are_drawn() -> None:
    table = comparisons()
    lost = (table["metric"] == "total") & (table["other"] == "direct.prior=none")
    table.loc[lost, ["difference", "low", "high"]] = NAN
    table.loc[table["metric"] == "marker_auroc", ["low", "high"]] = NAN
    table = table[table["metric"] != "coexpression_spearman"]
    figure = prior_benefit.draw(table, "pancreas")
    assert len(figure.axes) == 7
    assert len(_points(figure.axes[0])) == 3
    assert [t.get_text() for t in figure.axes[0].texts].count("no value") == 1
    assert len(_points(figure.axes[6])) == 4


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, "One seed: cells only."), (3, "Paired over 3 seeds and cells."), (None, "1 to 3 seeds")]
)
def test_the_note_says_how_many_seeds(seeds: int | None, words: str) -> None:
    table = comparisons(seeds or 3)
    if seeds is None:
        table.loc[table["model"] == "direct", "seeds"] = 1
    note = prior_benefit.draw(table, "pancreas").texts[-1].get_text().replace("\n", " ")
    assert words in note
    assert ("with one seed: cells only" in note) == (seeds is None)


def test_the_legend_names_what_is_there() -> None:
    table = comparisons()
    labels: Callable[[Any], list[str]] = lambda figure: [t.get_text() for t in figure.legends[0].get_texts()]  # noqa: E731
    all_three = ["true prior better", "control better", "no significant difference"]
    assert labels(prior_benefit.draw(table, "pancreas")) == all_three
    assert labels(prior_benefit.draw(table.assign(better="neither", low=NAN, high=NAN), "x")) == all_three[2:]


def test_the_script_draws_the_same_twice(drawn: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "comparisons.parquet"
    models = comparisons().assign(kind="models", model="elsewhere")
    write_table(path, pd.concat([comparisons(), models]))
    words = drawn("plot_prior_benefit.py", "--comparisons", path, "--dataset", "pancreas")
    assert "pancreas: what the gene prior adds" in words and "Genes left out," in words
    assert "elsewhere" not in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "models"}, "No model was compared with a control of its gene prior."),
        ({"dataset": "other"}, "prior_controls: [shuffled, gaussian, onehot, none]"),
        ({"difference": NAN}, "have no score in common"),
        ({"metric": "kbet"}, "have no score in common"),
    ],
)
def test_nothing_to_compare_is_explained(
    drawn: Callable[..., str], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "comparisons.parquet"
    write_table(path, comparisons().assign(**change))
    assert words in drawn("plot_prior_benefit.py", "--comparisons", path, "--dataset", "pancreas")


def test_a_foreign_table_is_named(run_script: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "comparisons.parquet"
    write_table(path, comparisons().rename(columns={"better": "best"}))
    with pytest.raises(UserError, match="column 'better' does not exist"):
        run_script("plot_prior_benefit.py", "--comparisons", path, "--dataset", "x", "--output", tmp_path / "x.png")
