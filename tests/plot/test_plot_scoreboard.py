"""The score table: means over seeds, controls apart, what has no value and why."""

import math
from collections.abc import Callable
from typing import get_args

import pandas as pd
import pytest

from sclamp.config.evaluate import Control
from sclamp.core.errors import UserError
from sclamp.evaluate.panel import METRICS as COMPUTED
from sclamp.plot.metrics import GROUPS, METRICS, describe
from sclamp.plot.scoreboard import CEILINGS, CONTROL, Board, boards, full_bar, kind_of, number, without_extras


def _cell(board: Board, model: str, metric: str):
    row = next(row for row in board.rows if row.model == model)
    return row.cells[[c.metric for c in board.columns].index(metric)]


def test_values_are_means_and_spreads_over_seeds(scores: Callable[..., pd.DataFrame]) -> None:
    held_out, all_cells = boards(scores(), "pancreas")
    assert (held_out.scope, all_cells.scope) == ("held_out", "all")
    cell = _cell(held_out, "harmony", "total")
    assert cell.value == pytest.approx((0.73 + 0.74 + 0.75) / 3)
    assert cell.spread == pytest.approx(pd.Series([0.73, 0.74, 0.75]).std())
    assert (cell.n, cell.seeds, cell.state) == (3, 3, "ok")
    assert math.isnan(_cell(boards(scores((1,)), "pancreas")[0], "harmony", "total").spread)


def test_a_score_without_value_keeps_its_state_and_reason(scores: Callable[..., pd.DataFrame]) -> None:
    board = boards(scores(), "pancreas", models=["never_run"])[0]
    assert _cell(board, "harmony", "bras")[4:] == ("not_applicable", "one batch")
    assert _cell(board, "pca", "mse")[4:] == ("failed", "not a <finite> number")
    partial = _cell(board, "weak", "mse")
    assert (partial.n, partial.seeds, partial.state) == (2, 3, "partial")
    assert partial.value == pytest.approx(2.7)
    assert _cell(board, "never_run", "total").state == "missing"
    assert board.rows[-1].model == "never_run"


def test_models_are_ranked_and_those_below_a_control_are_marked(scores: Callable[..., pd.DataFrame]) -> None:
    board = boards(scores(), "pancreas", baseline="pca")[0]
    assert [row.model for row in board.rows] == ["control_label_onehot", "harmony", "pca", "control_random", "weak"]
    assert [row.kind for row in board.rows] == ["control", "model", "baseline", "control", "model"]
    assert {row.model: row.below for row in board.rows if row.below} == {"weak": ["pca", "control_random"]}
    assert board.best(board.ranking).model == "harmony"  # type: ignore[union-attr, arg-type]


def test_the_lowest_error_is_best(scores: Callable[..., pd.DataFrame]) -> None:
    table = scores()
    table.loc[(table["model"] == "harmony") & (table["metric"] == "mse"), ["value", "status"]] = [1.0, "ok"]
    board = boards(table, "pancreas")[0]
    column = [c.metric for c in board.columns].index("mse")
    assert [row.model for row in board.leaders(column)] == ["harmony", "weak"]
    assert full_bar(board, column) == pytest.approx(2.7)
    assert full_bar(board, 0) == 1.0


def test_columns_come_in_groups_and_variants_can_be_left_out(scores: Callable[..., pd.DataFrame]) -> None:
    board = boards(scores(), "pancreas")[0]
    metrics = [c.metric for c in board.columns]
    assert metrics == ["total", "bio", "batch", "nmi_kmeans", "nmi_leiden", "ilisi_knn", "bras", "mse"]
    slim = without_extras(board)
    assert [c.metric for c in slim.columns] == [m for m in metrics if m != "nmi_leiden"]
    assert _cell(slim, "weak", "mse") == _cell(board, "weak", "mse")


def test_models_whose_aggregates_differ_share_a_column(scores: Callable[..., pd.DataFrame]) -> None:
    table = scores()
    table.loc[(table["model"] == "weak") & (table["metric"] == "total"), "implementation"] = "without pcr"
    board = boards(table, "pancreas")[0]
    assert board.columns[0].implementations == ("ours", "without pcr")
    assert [c.metric for c in board.columns].count("total") == 1


def test_unknown_dataset_and_missing_columns_are_named(scores: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(UserError, match="dataset 'pancrea' does not exist; did you mean 'pancreas'"):
        boards(scores(), "pancrea")
    with pytest.raises(UserError) as caught:
        boards(scores().drop(columns=["value", "status"]), "pancreas")
    assert [p.split("'")[1] for p in caught.value.problems] == ["value", "status"]


def test_every_computed_score_and_control_is_known() -> None:
    assert {m.name for m in COMPUTED} <= set(METRICS)
    assert {kind_of(f"{CONTROL}{name}", "pca") for name in get_args(Control)} == {"control"}
    assert set(CEILINGS) <= {f"{CONTROL}{name}" for name in get_args(Control)}
    assert {m.group for m in METRICS.values()} <= set(GROUPS)


def test_names_that_nobody_listed_are_shown_as_they_are() -> None:
    assert describe("reconstruction", "rmse_masked") == ("reconstruction", "rmse masked", "", True, False)
    assert describe("genes", "marker_auroc").group == "other"
    assert describe("reconstruction", "mse_gene").lower_is_better and describe("reconstruction", "mse_gene").extra


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.0004, "0.000"), (1234.5, "1.23e+03"), (12.3, "12.3")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
