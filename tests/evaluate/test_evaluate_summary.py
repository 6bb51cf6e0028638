"""The ranking of models and the controls above them."""

from __future__ import annotations

import pandas as pd
import pytest

from sclamp.evaluate.summary import rank_models


def table(totals: dict[str, list[float]], cells: str = "all", dataset: str = "d", status: str = "ok") -> pd.DataFrame:
    rows = [
        (dataset, model, seed, cells, value) for model, values in totals.items() for seed, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["dataset", "model", "seed", "cells", "value"])
    return frame.assign(metric="total", status=status)


def test_models_below_a_control_are_named() -> None:
    totals = {
        "good": [0.8, 0.7], "bad": [0.4, 0.5], "control_random": [0.5, 0.5], "control_batch_onehot": [0.2, 0.2],
        "control_label_onehot": [0.95, 0.95],
    }  # fmt: skip
    ranking = rank_models(table(totals))
    assert list(ranking["model"]) == ["control_label_onehot", "good", "control_random", "bad", "control_batch_onehot"]
    below = ranking.set_index("model")["below_control"]
    assert below["good"] == below["control_random"] == ""  # the ceiling, given the labels, shames nobody
    assert below["bad"] == "control_random"
    assert ranking.set_index("model")["total_mean"]["good"] == pytest.approx(0.75)
    assert ranking.set_index("model")["seeds"]["good"] == 2


def test_each_dataset_and_set_of_cells_has_its_own_controls() -> None:
    scores = pd.concat([
        table({"m": [0.4]}),
        table({"m": [0.4], "control_random": [0.5]}, cells="held_out"),
        table({"m": [0.6], "control_random": [0.5]}, dataset="e"),
    ])  # fmt: skip
    below = rank_models(scores).set_index(["dataset", "cells", "model"])["below_control"]
    assert below["d", "all", "m"] == below["e", "all", "m"] == ""
    assert below["d", "held_out", "m"] == "control_random"


def test_scores_without_a_value_do_not_rank() -> None:
    assert len(rank_models(table({"m": [float("nan")]}, status="failed"))) == 0
