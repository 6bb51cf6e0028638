"""Calibrated scores: which controls they stand between, and when there are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sclamp.evaluate import panel
from sclamp.evaluate.calibrate import GROUPS, bounds, calibrated, direction
from sclamp.plot.metrics import METRICS, describe

ONEHOT, BATCH, RANDOM = "control_label_onehot", "control_batch_onehot", "control_random"


def score_table(
    values: dict[str, list[float]], metric: str, task: str = "integration", cells: str = "all"
) -> pd.DataFrame:
    rows = [(model, seed, value) for model, of_seeds in values.items() for seed, value in enumerate(of_seeds)]
    frame = pd.DataFrame(rows, columns=["model", "seed", "value"])
    status = np.where(frame["value"].isna(), "failed", "ok")
    return frame.assign(dataset="d", cells=cells, task=task, metric=metric, status=status)


def calibrate(table: pd.DataFrame) -> pd.Series:
    of = calibrated(table, bounds(table), "value")
    return pd.Series(of, index=pd.MultiIndex.from_frame(table[["model", "seed"]])).round(9)


def test_scores_of_biology_stand_between_random_and_the_labels() -> None:
    table = score_table({"m": [0.5, 0.7], RANDOM: [0.1, 0.3], ONEHOT: [0.8, 1.0], BATCH: [0.0, 0.0]}, "nmi_kmeans")
    found = calibrate(table)  # floor 0.2, ceiling 0.9: means over seeds
    assert found["m", 0] == pytest.approx(0.3 / 0.7) and found["m", 1] == pytest.approx(0.5 / 0.7)
    assert found[RANDOM].mean() == pytest.approx(0) and found[ONEHOT].mean() == pytest.approx(1)


def test_scores_of_batches_stand_between_separated_batches_and_the_labels() -> None:
    values = {"m": [0.5], RANDOM: [0.95], ONEHOT: [0.9], BATCH: [0.1]}
    found = calibrate(score_table(values, "bras"))
    assert found["m", 0] == pytest.approx(0.5)
    assert found[RANDOM, 0] > 1  # it mixes batches better than what knows the labels: no floor
    lower = calibrate(score_table({"m": [0.6], RANDOM: [0.3], ONEHOT: [0.4], BATCH: [1.0]}, "batch_accuracy", "probe"))
    assert lower["m", 0] == pytest.approx(0.4 / 0.6)  # the same formula where less is better


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("isolated_labels_f1", {"m": [0.3], RANDOM: [0.1], ONEHOT: [0.119]}),  # controls do not differ
        ("isolated_labels_f1", {"m": [0.3], RANDOM: [0.9], ONEHOT: [0.1]}),  # the wrong way round
        ("batch_accuracy", {"m": [0.3], BATCH: [0.4], ONEHOT: [0.9]}),  # the same, less is better
        ("nmi_kmeans", {"m": [0.3], RANDOM: [0.1]}),
        ("nmi_kmeans", {"m": [0.3], ONEHOT: [0.9], BATCH: [0.1]}),
        ("nmi_kmeans", {"m": [0.3], ONEHOT: [float("nan")], RANDOM: [0.1]}),
        ("trajectory", {"m": [0.3], ONEHOT: [0.9], RANDOM: [0.1]}),  # not about labels
        ("never_heard_of", {"m": [0.3], ONEHOT: [0.9], RANDOM: [0.1], BATCH: [0.0]}),
        ("nmi_kmeans", {"m": [float("nan")]}),
    ],
)
def test_without_a_range_there_is_no_calibrated_value(metric: str, values: dict[str, list[float]]) -> None:
    assert calibrate(score_table(values, metric)).isna().all()


def test_failed_seeds_of_a_control_do_not_count_and_a_failed_score_has_none() -> None:
    values = {"m": [0.5, float("nan")], RANDOM: [0.0, float("nan")], ONEHOT: [1.0, 1.0]}
    found = calibrate(score_table(values, "total"))
    assert found["m", 0] == 0.5 and np.isnan(found["m", 1])


def test_controls_of_other_cells_and_tasks_do_not_count() -> None:
    controls = {RANDOM: [0.0], ONEHOT: [1.0]}
    table = pd.concat([
        score_table({"m": [0.5]}, "total", cells="held_out"),
        score_table({"m": [0.5]}, "total", task="other"),
        score_table({"m": [0.5]}, "total").assign(dataset="e"),
        score_table(controls, "total"),
    ])  # fmt: skip
    assert calibrated(table, bounds(table), "value")[:3].tolist() == pytest.approx([np.nan] * 3, nan_ok=True)


def test_every_score_of_the_panel_says_whether_it_is_calibrated() -> None:
    of_panel = {metric.name for metric in panel.METRICS}
    assert of_panel <= set(GROUPS)
    shown = {name: METRICS[name].group for name in of_panel if name in METRICS}
    assert {name: GROUPS[name] for name in shown if GROUPS[name]} == {n: g for n, g in shown.items() if GROUPS[n]}


def test_figures_and_comparisons_agree_on_which_way_is_better() -> None:
    endings = {"reconstruction": ("_gene", "_cell"), "genes": ("_shuffled",)}
    names = {name + end for name, shown in METRICS.items() for end in ("", *endings.get(shown.group, ()))}
    for task in ("integration", "reconstruction", "imputation", "genes", "probe"):
        assert {n for n in names if direction(n) < 0} == {n for n in names if describe(task, n).lower_is_better}
    for name in ("mse_of_mean", "pearson_gene", "ridge_pearson_gene", "pearson_gene_expressed"):
        assert (direction(name) < 0) == describe("left_out_genes", name).lower_is_better
