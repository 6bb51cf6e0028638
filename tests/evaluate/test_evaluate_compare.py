"""Paired comparisons and the ranks that follow from them."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sclamp.evaluate.blocks import blocks
from sclamp.evaluate.compare import COLUMNS, compare, holm, model_pairs
from sclamp.evaluate.resampled import Resampled
from sclamp.evaluate.rows import RUN
from sclamp.evaluate.summary import INTERVALS, summarize

NONE = Resampled(pd.DataFrame({name: [] for name in RUN}), np.empty((0, 0)))


def score_table(values: dict[str, np.ndarray | list[float]], metric: str = "total", **more: str) -> pd.DataFrame:
    """Models and their values by seed; NaN is a failed score."""
    rows = [(model, seed, float(value)) for model, of_seeds in values.items() for seed, value in enumerate(of_seeds)]
    frame = pd.DataFrame(rows, columns=["model", "seed", "value"])
    frame = frame.astype({"value": float})
    status = np.where(frame["value"].isna(), "failed", "ok")
    place = {"dataset": "d", "cells": "all", "task": "integration", "metric": metric, **more}
    return frame.assign(**place, status=status)


def resampled_of(scores: pd.DataFrame, noise: np.ndarray) -> Resampled:
    """Resamples for each row of scores: its value plus noise (rows, b), or (b,) the same for all."""
    return Resampled(scores[RUN].reset_index(drop=True), scores["value"].to_numpy()[:, None] + noise)


def compared(scores: pd.DataFrame, resampled: Resampled = NONE) -> pd.DataFrame:
    return summarize(scores, resampled).comparisons


def test_holm() -> None:
    p = np.array([[0.01, 0.04, 0.03, 0.005], [0.5, 0.6, np.nan, 0.02], [np.nan] * 4, [0.2, 0.2, 0.2, 0.2]])
    expected = [[0.03, 0.06, 0.06, 0.02], [1.0, 1.0, np.nan, 0.06], [np.nan] * 4, [0.8, 0.8, 0.8, 0.8]]
    np.testing.assert_allclose(holm(p), expected)


def test_differences_are_paired_by_seed() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, size=6)  # seeds that are easy or hard for all
    a, b = shared + rng.normal(0.05, 0.02, size=6), shared + rng.normal(0, 0.02, size=6)
    row = compared(score_table({"a": a, "b": b})).iloc[0]
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    assert row[["difference", "low", "high", "p"]].tolist() == pytest.approx([(a - b).mean(), low, high, test.pvalue])
    assert stats.ttest_ind(a, b).pvalue > 0.5 > 0.05 > row["p"] and row["better"] == "model"
    assert tuple(row.index) == COLUMNS and (row["model"], row["other"], row["seeds"]) == ("a", "b", 6)


def test_differences_are_paired_by_resample() -> None:
    rng = np.random.default_rng(1)
    scores = score_table({"a": [0.52], "b": [0.50]})
    shared, own = rng.normal(0, 0.1, size=200), rng.normal(0, 0.004, size=(2, 200))
    row = compared(scores, resampled_of(scores, shared + own)).iloc[0]
    error = (own[0] - own[1]).std(ddof=1)
    assert row["seeds"] == 1 and row["p"] == pytest.approx(2 * stats.t.sf(0.02 / error, 199))
    assert row["p"] < 0.05 and row["better"] == "neither", "one seed names no winner"
    unpaired = shared + own + np.stack([np.zeros(200), rng.permutation(shared) - shared])
    assert compared(scores, resampled_of(scores, unpaired)).iloc[0]["better"] == "neither"


def test_seeds_that_one_model_lacks_are_dropped_and_counted() -> None:
    nan = float("nan")
    table = compared(score_table({"a": [0.1, 0.2, nan, 0.4], "b": [0.2, nan, 0.3, 0.5], "c": [nan, 0.2, nan, nan]}))
    rows = table.set_index(["model", "other"])
    assert rows.loc[("a", "b"), ["seeds", "seeds_dropped", "difference"]].tolist() == pytest.approx([2, 2, -0.1])
    assert rows.loc[("a", "c"), "seeds"] == 1 and np.isnan(rows.loc[("a", "c"), "p"])
    assert ("b", "c") not in rows.index  # no common seed


def test_less_is_better_for_errors() -> None:
    rng = np.random.default_rng(2)
    values = {"a": rng.normal(0.1, 0.01, 5), "b": rng.normal(0.9, 0.01, 5)}
    assert compared(score_table(values, "pearson")).iloc[0]["better"] == "other"
    assert compared(score_table(values, "mse_gene")).iloc[0]["better"] == "model"


def test_holm_is_over_the_pairs_of_one_score_and_kind() -> None:
    rng = np.random.default_rng(3)
    values = {name: rng.normal(0.05 * i, 0.03, 5) for i, name in enumerate(("a", "b", "c", "a.prior=none"))}
    scores = pd.concat([score_table(values), score_table(values, "bio"), score_table(values, cells="held_out")])
    table = summarize(scores, NONE, None, [("a", "b"), ("a", "a.prior=none")]).comparisons
    for (_, kind), rows in table.groupby(["cells", "kind"]):
        for _, own in rows.groupby("metric"):
            assert len(own) == {"models": 3, "prior": 2}[kind]
            np.testing.assert_allclose(own["p_adjusted"], holm(own["p"].to_numpy()[None])[0])
            assert (own["p_adjusted"] >= own["p"]).all() and (own["p_adjusted"] > own["p"]).any()


def test_controls_are_not_compared_and_do_not_rank() -> None:
    rng = np.random.default_rng(4)
    names = ("pca", "m", "control_random", "m.prior=shuffled")
    summary = summarize(score_table({name: rng.normal(0.5, 0.1, 3) for name in names}), NONE, "pca")
    assert summary.comparisons[["model", "other"]].to_numpy().tolist() == [["m", "pca"]]
    rank = summary.intervals.set_index("model")["rank"]
    assert rank[["pca", "m"]].tolist() == [1, 1] and rank[["control_random", "m.prior=shuffled"]].isna().all()


def test_a_true_null_is_called_different_in_about_5_of_100_cases() -> None:
    rng, trials, seeds, resamples = np.random.default_rng(5), 400, 5, 100
    cells = rng.normal(size=(trials, 1, resamples + 1))  # of both models: one truth, and its resamples
    own = rng.normal(size=(trials, 2, resamples + 1))
    trained = rng.normal(size=(trials, 2, seeds))
    truth, noise = (cells + own)[..., 0], (cells + own)[..., 1:]
    values = (truth[:, :, None] + trained).reshape(trials, 2 * seeds)
    place = pd.DataFrame({"model": np.repeat(["a", "b"], seeds), "seed": np.tile(np.arange(seeds), 2)})
    scores = pd.concat([place.assign(value=v, metric=f"score{i:03d}") for i, v in enumerate(values)])
    scores = scores.assign(dataset="d", cells="all", task="t", status="ok")
    table = compared(scores, resampled_of(scores, np.repeat(noise, seeds, axis=1).reshape(-1, resamples)))
    assert len(table) == trials
    assert (table["better"] != "neither").mean() == pytest.approx(0.05, abs=0.03)
    assert np.mean((table["low"] <= 0) & (table["high"] >= 0)) == pytest.approx(1 - np.mean(table["p"] < 0.05))


def test_ranks_differ_only_where_the_difference_exceeds_the_noise() -> None:
    rng = np.random.default_rng(7)
    means = {"best": 0.9, "twin": 0.899, "middle": 0.7, "worst": 0.2}
    values = {name: rng.normal(mean, 0.01, 5) for name, mean in means.items()}
    summary = summarize(score_table({**values, "alone": [0.1]}), NONE)
    rank = summary.intervals.set_index("model")["rank"]
    assert rank[["best", "twin", "middle", "worst"]].tolist() == [1, 1, 3, 4]
    assert np.isnan(rank["alone"])  # one seed and no resamples: no noise is known
    assert summarize(score_table({"only": [0.5]}), NONE).intervals["rank"].tolist() == [1]


def test_tables_without_any_score_or_pair() -> None:
    for values in ({"m": [float("nan")]}, {"control_random": [0.1]}, {}):
        summary = summarize(score_table(values), NONE, "pca")
        assert tuple(summary.comparisons) == COLUMNS and tuple(summary.intervals) == INTERVALS
        assert len(summary.comparisons) == 0
        assert len(summary.intervals) == sum(not np.isnan(v[0]) for v in values.values())


def test_a_large_summary_takes_seconds() -> None:
    rng, n = np.random.default_rng(6), 200
    models, metrics = [f"m{i}" for i in range(10)], [f"score{i}" for i in range(40)]
    index = pd.MultiIndex.from_product([models, range(5), ["all", "held_out"], metrics])
    scores = pd.DataFrame(index.to_list(), columns=["model", "seed", "cells", "metric"])
    scores = scores.assign(dataset="d", task="t", status="ok", value=rng.normal(size=len(scores)))
    start = time.process_time()
    summary = summarize(scores, resampled_of(scores, rng.normal(0, 0.1, size=(len(scores), n))))
    assert time.process_time() - start < 10
    assert len(summary.intervals) == 10 * 80 and len(summary.comparisons) == 45 * 80
    block = next(blocks(scores, NONE))
    assert len(compare(block, model_pairs(block), "models")) == 45 * 80
