"""The score table: means over seeds, controls apart, what has no value and why."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from sclamp.config.evaluate import Control
from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.evaluate.left_out import METRICS as LEFT_OUT_SCORES
from sclamp.evaluate.panel import METRICS as COMPUTED
from sclamp.evaluate.reconstruction import SCORES as AGREEMENT
from sclamp.plot import scores as figure
from sclamp.plot.metrics import GROUP_COLOURS, GROUPS, LEFT_OUT, METRICS, describe
from sclamp.plot.scoreboard import CEILINGS, CONTROL, Board, boards, full_bar, kind_of, number, without_extras

NAN = float("nan")


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
    assert _cell(board, "harmony", "bras")[4:6] == ("not_applicable", "one batch")
    assert _cell(board, "pca", "mse")[4:6] == ("failed", "not a <finite> number")
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
    rest = [m for m in metrics if m not in {"nmi_leiden", "bras"}]
    assert [c.metric for c in slim.columns] == rest, "neither a variant nor what applies to no model"
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
    assert {m.name for m in COMPUTED} | set(AGREEMENT) <= set(METRICS)
    assert set(LEFT_OUT_SCORES) == set(LEFT_OUT)
    assert {kind_of(f"{CONTROL}{name}", "pca") for name in get_args(Control)} == {"control"}
    assert set(CEILINGS) <= {f"{CONTROL}{name}" for name in get_args(Control)}
    assert {m.group for m in METRICS.values()} <= set(GROUPS)


def test_every_score_that_the_code_names_is_known() -> None:
    """Scores of genes, probes and unseen batches have no list of their own: their names are read from the code."""
    folder = Path(__file__).parents[2] / "scripts/sclamp/evaluate"
    named = r'measure(?:_statistic)?\(\s*"([a-z_0-9]+)"'
    found = {name for path in folder.glob("*.py") for name in re.findall(named, path.read_text(encoding="utf-8"))}
    for name in ("marker_scores.py", "gene_modules.py"):
        found |= set(re.findall(r'^ +"([a-z_0-9]+)": \(', (folder / name).read_text(encoding="utf-8"), flags=re.M))
    assert {"total", "hvg_overlap", "unseen_mixing", "coexpression_spearman", "marker_auroc", "terms_enriched"} <= found
    assert {name.removesuffix("_shuffled") for name in found} <= set(METRICS)


def test_names_that_nobody_listed_are_shown_as_they_are() -> None:
    assert describe("reconstruction", "rmse_masked") == ("reconstruction", "rmse masked", "", True, False, False)
    assert describe("integration", "brand_new") == ("other", "brand new", "", False, False, False)
    assert describe("genes", "brand_new").group == "genes"
    assert describe("reconstruction", "mse_gene").lower_is_better and describe("reconstruction", "mse_gene").extra


def test_tasks_that_share_names_are_told_apart() -> None:
    found = [describe(task, "mse") for task in ("reconstruction", "imputation", "left_out_genes")]
    assert [m.group for m in found] == ["reconstruction", "imputation", "left_out_genes"]
    assert all(m.lower_is_better for m in found)
    assert "masked before the model saw the cell" in found[1].meaning and "never seen in training" in found[2].meaning
    assert describe("imputation", "pearson_gene")[:2] == ("imputation", "Pearson per gene")
    assert describe("left_out_genes", "pearson_gene")[:2] == ("left_out_genes", "Pearson")
    assert describe("expression", "hvg_overlap").group == "bio"


def test_controls_of_gene_scores_are_shown_on_demand() -> None:
    shown = describe("genes", "given_marker_precision_shuffled")
    assert (shown.group, shown.title, shown.extra) == ("genes", "Given prec. shuffled", True)
    assert "(a control)" in shown.meaning


def test_every_score_has_a_heading_of_its_own_and_a_sentence() -> None:
    for task, known in (("any", METRICS), ("left_out_genes", LEFT_OUT)):
        titles = [(describe(task, name).group, describe(task, name).title) for name in known]
        assert len(set(titles)) == len(titles)
        assert all(metric.meaning.endswith(".") and len(metric.title) <= 18 for metric in known.values())
    assert set(GROUP_COLOURS) == set(GROUPS)


@pytest.fixture
def intervals(scores: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Intervals of the total of held-out cells: harmony and pca share the first rank, weak is below the control."""
    totals = {"harmony": (0.74, 1.0, ""), "pca": (0.62, 1.0, ""), "weak": (0.3, 3.0, "control_random,pca")}
    totals |= {"control_random": (0.35, NAN, ""), "control_label_onehot": (0.94, NAN, "")}
    rows = [
        {
            "dataset": "pancreas", "cells": "held_out", "task": "integration", "metric": "total", "model": model,
            "low_seeds": mean - 0.01, "low_cells": NAN, "low": mean - 0.02, "high": mean + 0.02,
            "calibrated": (mean - 0.35) / 0.59, "calibrated_low": NAN, "calibrated_high": NAN, "rank": rank,
            "below_control": below,
        }
        for model, (mean, rank, below) in totals.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_intervals_ranks_and_calibrated_values_are_joined(
    scores: Callable[..., pd.DataFrame], intervals: pd.DataFrame
) -> None:
    board, other = boards(scores(), "pancreas", intervals=intervals)
    estimate = _cell(board, "harmony", "total").estimate
    assert (estimate.low, estimate.high) == (0.72, 0.76)
    assert (estimate.over_seeds, estimate.over_cells) == (True, False)
    assert estimate.calibrated == pytest.approx(0.39 / 0.59)
    assert not _cell(board, "harmony", "bio").estimate.has_interval
    assert [row.model for row in board.top(0)] == ["harmony", "pca"], "none of these is significantly better"
    assert [row.model for row in board.top(1)] == ["harmony"], "without ranks only the best mean"
    assert {row.model: board.place(row) for row in board.of_kind("model", "baseline")} == {
        "harmony": "=1", "pca": "=1", "weak": "3",
    }  # fmt: skip
    assert {row.model: row.below for row in board.rows if row.below} == {"weak": ["pca", "control_random"]}
    assert (board.has_intervals, board.has_calibrated) == (True, True)
    assert (other.has_intervals, other.has_calibrated, other.place(other.rows[0])) == (False, False, "")


def test_a_table_of_intervals_without_columns_is_named(
    scores: Callable[..., pd.DataFrame], intervals: pd.DataFrame
) -> None:
    with pytest.raises(UserError) as caught:
        boards(scores(), "pancreas", intervals=intervals.drop(columns=["low", "rank"]))
    assert [p.split("'")[1] for p in caught.value.problems] == ["low", "rank"]
    assert "table of intervals" in str(caught.value)


def test_models_with_controlled_priors_stand_apart(scores: Callable[..., pd.DataFrame]) -> None:
    table = scores()
    table.loc[table["model"] == "harmony", "model"] = "direct.prior=shuffled"
    board = boards(table, "pancreas")[0]
    assert [row.model for row in board.of_kind("prior")] == ["direct.prior=shuffled"]
    assert [row.model for row in board.leaders(0)] == ["pca", "weak"], "it cannot win"


def test_the_script_reads_intervals(
    scores: Callable[..., pd.DataFrame], intervals: pd.DataFrame, run_script: Callable[..., None], tmp_path: Path
) -> None:
    write_table(tmp_path / "scores.parquet", scores())
    write_table(tmp_path / "intervals.parquet", intervals)
    given = ("--scores", tmp_path / "scores.parquet", "--intervals", tmp_path / "intervals.parquet")
    for name in ("a.png", "b.png"):
        run_script("plot_scores.py", *given, "--dataset", "pancreas", "--output", tmp_path / name)
    assert ">[.72, .76]<" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_wide_tables_are_cut_into_blocks(scores: Callable[..., pd.DataFrame]) -> None:
    table = scores((1,))
    one = table[(table["metric"] == "bio") & (table["model"] != "control_random")]
    more = [one.assign(metric=f"new_{i}") for i in range(17)]
    board = boards(pd.concat([table, *more]), "pancreas")[0]
    blocks = figure.blocks_of(board)
    assert [c for block in blocks for c in block.columns] == board.columns
    assert max(len(block.columns) for block in blocks) <= figure.MOST
    assert len(blocks[0].rows) == 5, "the first block names every model"
    assert {row.model for row in blocks[-1].rows} == set(one["model"]), "later ones those that have a score"


def test_the_figure_shows_intervals_and_shared_ranks(
    scores: Callable[..., pd.DataFrame], intervals: pd.DataFrame
) -> None:
    drawn = figure.draw(boards(scores(), "pancreas", intervals=intervals))
    words = [text.get_text() for axes in drawn.axes for text in axes.texts]
    assert {"=1 harmony", "=1 pca", "3 ▼ weak", "[.72, .76]", "Controls"} <= set(words)
    assert any("95% interval" in text.get_text() for text in drawn.texts)
    plain = figure.draw(boards(scores(), "pancreas"))
    words = [text.get_text() for axes in plain.axes for text in axes.texts]
    assert "harmony" in words and "±.010" in words
    assert any("standard deviation" in text.get_text() for text in plain.texts)


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.0004, "0.000"), (1234.5, "1.23e+03"), (12.3, "12.3")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
