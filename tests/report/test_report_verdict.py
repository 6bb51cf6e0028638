"""The summary in words: who is best, by how much, who cannot be told apart, and what priors add."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.plot.scoreboard import Board, Column, boards, without_extras
from sclamp.report.benefit import benefit
from sclamp.report.comparisons import Comparisons, signed
from sclamp.report.plan import read_plan
from sclamp.report.verdict import Verdict, verdict

Values = dict[str, list[float]]
NOISE = 0.03


def _table(values: Values, metric: str = "total", task: str = "integration") -> pd.DataFrame:
    rows = [(m, s, v) for m, all_seeds in values.items() for s, v in enumerate(all_seeds)]
    return pd.DataFrame(rows, columns=["model", "seed", "value"]).assign(
        dataset="d", cells="all", task=task, metric=metric, implementation="ours", status="ok", reason=""
    )


def _board(values: Values) -> Board:
    return boards(_table(values), "d")[0]


def _compared(values: Values, kind: str = "models", metric: str = "total", task: str = "integration") -> pd.DataFrame:
    """Every pair, in one direction; beyond noise from a difference of NOISE on. Errors are better when they are low."""
    sign = -1 if metric == "mse" else 1
    rows = []
    for i, a in enumerate(values):
        for b in list(values)[i + 1 :]:
            gap = float(np.mean(values[a]) - np.mean(values[b]))
            better = "neither" if abs(gap) < NOISE else ("model" if sign * gap > 0 else "other")
            rows.append((a, b, gap, gap - 0.02, gap + 0.02, 0.004 if abs(gap) >= NOISE else 0.6, better))
    names = ["model", "other", "difference", "low", "high", "p_adjusted", "better"]
    fixed = {"dataset": "d", "cells": "all", "task": task, "metric": metric, "kind": kind}
    return pd.DataFrame(rows, columns=names).assign(**fixed, seeds=len(next(iter(values.values()))))


def _said(values: Values) -> Verdict:
    models = {name: own for name, own in values.items() if not name.startswith("control_")}
    return verdict(_board(values), Comparisons(_compared(models), "d", "all"))


def test_winner_lead_and_baseline() -> None:
    values = {"a": [0.70, 0.72], "b": [0.60, 0.62], "pca": [0.5] * 2, "control_random": [0.3] * 2}
    said = _said(values)
    assert said.headline == (
        "a ranks first: Total 0.710 ± 0.014 over 2 seeds, 0.100 [0.080, 0.120] ahead of b (0.610 ± 0.014 over 2 seeds)."
    )
    assert said.remarks == ["Against the baseline pca (0.500): +0.210 [0.190, 0.230]."]
    assert said.winner == ("a",)
    (leader,) = said.leaders
    assert leader[2:] == ("a", "0.710 ± 0.014 over 2 seeds", "b", "0.100 [0.080, 0.120]", "0.500", "yes")


def test_models_within_noise_share_the_first_rank() -> None:
    said = _said({"b": [0.69], "a": [0.70], "c": [0.60], "pca": [0.5]})
    assert said.headline == (
        "a and b rank first and cannot be told apart: Total 0.700 and 0.690. "
        "a is 0.100 [0.080, 0.120] ahead of c (0.600)."
    )
    assert said.winner == ("a", "b")
    assert said.leaders[0].apart == "not from b"
    assert said.leaders[0].lead == "0.010 [-0.010, 0.030]"


def test_nobody_can_be_told_apart() -> None:
    said = _said({"a": [0.70], "b": [0.69], "pca": [0.68]})
    assert said.headline == "a, b and pca cannot be told apart: Total 0.700, 0.690 and 0.680."
    assert "No model is ahead of the baseline pca beyond the noise." in said.remarks
    assert said.leaders[0].apart == "from no other"


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        (
            {"a": [0.70], "b": [0.64]},
            "There is one seed: intervals hold the noise of the cells, not that of training; none is called better.",
        ),
        ({"a": [0.70], "pca": [0.80]}, "No model is ahead of the baseline pca."),
        (
            {"a": [0.30], "control_random": [0.80]},
            "The control random scores higher than every model: this ranking must not be used.",
        ),
        ({"a": [0.80], "b": [0.20], "control_random": [0.30]}, "Ranked below random: b."),
    ],
)
def test_what_qualifies_it(values: Values, remark: str) -> None:
    assert remark in _said(values).remarks


def test_a_winner_below_a_control_is_refused() -> None:
    said = _said({"a": [0.30], "b": [0.1], "control_random": [0.8], "control_batch_onehot": [0.4]})
    assert said.headline == (
        "No winner: the controls random (0.800) and batch_onehot (0.400) have a higher Total than the best model, "
        "a (0.300)."
    )
    assert said.winner == ()


def test_without_comparisons_nothing_is_claimed() -> None:
    said = verdict(_board({"a": [0.7, 0.7], "b": [0.6, 0.6]}), Comparisons(None, "d", "all"))
    assert said.headline.startswith("a ranks first") and "0.100 ahead of b" in said.headline
    assert said.remarks == ["Without tests of the differences small leads mean nothing."]
    assert said.leaders[0].apart == "not tested"


def test_to_stay_below_the_ceiling_is_no_fault() -> None:
    said = _said({"a": [0.7], "control_label_onehot": [0.9]})
    assert said.headline == "a ranks first: Total 0.700; no other model has this score."
    assert not [text for text in said.remarks if "control" in text or "below" in text]


def test_no_aggregate_no_ranking() -> None:
    board = _board({"a": [0.7]})
    board.ranking = None
    said = verdict(board, Comparisons(None, "d", "all"))
    assert (said.headline, said.winner) == ("No aggregate score exists, so there is no ranking.", ())


def _column(metric: str, task: str = "integration") -> Column:
    return boards(_table({"a": [1.0]}, metric, task), "d")[0].columns[0]


def test_gains_do_not_depend_on_the_order_of_a_pair() -> None:
    tests = Comparisons(_compared({"a": [0.7], "b": [0.6]}), "d", "all")
    forth, back = tests.gain(_column("total"), "a", "b"), tests.gain(_column("total"), "b", "a")
    assert forth is not None and back is not None
    assert (forth.words, back.words) == ("+0.100 [0.080, 0.120]", "-0.100 [-0.120, -0.080]")
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert tests.gain(_column("total"), "a", "z") is None
    assert tests.gain(_column("total"), "a", "b", "prior") is None


def test_less_of_an_error_is_a_gain() -> None:
    table = _compared({"a": [0.5], "b": [0.6]}, metric="mse", task="reconstruction")
    gain = Comparisons(table, "d", "all").gain(_column("mse", "reconstruction"), "a", "b")
    assert gain is not None
    assert (gain.words, gain.verdict) == ("+0.100 [0.080, 0.120]", "better")


def test_a_difference_without_a_test() -> None:
    table = _compared({"a": [0.7], "b": [0.6]}).assign(p_adjusted=math.nan, low=math.nan, high=math.nan)
    gain = Comparisons(table, "d", "all").gain(_column("total"), "a", "b")
    assert gain is not None
    assert (gain.words, gain.verdict) == ("+0.100", "not tested")


def test_a_table_of_comparisons_without_columns_is_named() -> None:
    with pytest.raises(UserError, match="table of comparisons: column 'difference' does not exist"):
        Comparisons(_compared({"a": [0.7], "b": [0.6]}).drop(columns="difference"), "d", "all")


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "+0.020"), (-0.02, "-0.020"), (0.0001, "0.000"), (-0.0001, "0.000")]
)
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text


def test_what_priors_add(plan_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    raw = plan_of(tmp_path)
    names = {"shuffled": "direct.prior=shuffled", "none": "direct.prior=none"}
    raw["prior_controls"] = [{"model": name, "control": c, "of": "direct"} for c, name in names.items()]
    totals: Values = {"direct": [0.7], names["shuffled"]: [0.6], names["none"]: [0.69]}
    errors: Values = {"direct": [0.5], names["shuffled"]: [0.4], names["none"]: [0.5]}
    table = pd.concat([_table(totals), _table(errors, "mse", "reconstruction")])
    tests = pd.concat([_compared(totals, "prior"), _compared(errors, "prior", "mse", "reconstruction")])
    found = benefit(read_plan(json.dumps(raw)), without_extras(boards(table, "d")[0]), Comparisons(tests, "d", "all"))
    assert found is not None and found.one_seed
    assert found.sentences == [
        "direct: the true gene priors change Total by +0.100 [0.080, 0.120] against the same vectors on the wrong "
        "genes (beyond the noise; among 1 other score worse on 1); and Total by +0.010 [-0.010, 0.030] against no gene "
        "prior (no verdict from one seed; among 1 other score none differs)."
    ]
    assert [found.scores[i].metric for i in found.columns] == ["total"]
    assert benefit(read_plan(json.dumps(raw)), boards(table, "d")[0], Comparisons(None, "d", "all")) is None
