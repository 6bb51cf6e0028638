"""Scores of a reconstruction against scipy, and what is said on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sclamp.train.agreement import agreement_table, spaced


def test_correlations_with_ties_equal_scipy():
    stats, distance = pytest.importorskip("scipy.stats"), pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (40, 12)).astype(np.float32)
    y = (x + rng.poisson(1.0, x.shape)).astype(np.float32)
    table = agreement_table(x, y, np.arange(40), tuple("abcdefghijkl")).to_pandas().set_index(["scope", "id"])
    pairs = {("all", ""): (x.ravel(), y.ravel()), ("gene", "c"): (x[:, 2], y[:, 2]), ("cell", "7"): (x[7], y[7])}
    for key, (a, b) in pairs.items():
        row = table.loc[key]
        assert row["pearson"] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-6)
        assert row["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-6)
        assert row["mse"] == pytest.approx(np.mean((a - b) ** 2), rel=1e-6)
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), rel=1e-6)
        assert row["mae"] == pytest.approx(np.mean(np.abs(a - b)), rel=1e-6)
        assert row["cosine"] == pytest.approx(1 - distance.cosine(a, b), abs=1e-6)
        assert row["n"] == len(a)
    assert len(table) == 1 + 12 + 40


def test_entries_that_do_not_count_change_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 30, 8))
    among = rng.random((30, 8)) < 0.4
    among[:, 3], among[5] = False, False
    genes, cells = tuple("abcdefgh"), np.arange(30)
    table = agreement_table(x, y, cells, genes, among).to_pandas().set_index(["scope", "id"])
    noise = np.where(among, 0, rng.normal(size=x.shape) * 100)
    again = agreement_table(x + noise, y - noise, cells, genes, among).to_pandas().set_index(["scope", "id"])
    assert table.equals(again)
    for key, a, b in ((("all", ""), x[among], y[among]), (("gene", "c"), x[among[:, 2], 2], y[among[:, 2], 2])):
        row = table.loc[key]
        assert row["n"] == len(a)
        assert row["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
        assert row["mae"] == pytest.approx(np.abs(a - b).mean())
    for key in (("gene", "d"), ("cell", "5")):
        assert table.loc[key, "n"] == 0
        assert table.loc[key].drop("n").isna().all()


def test_a_zero_side_has_no_cosine():
    rows = agreement_table(np.zeros((1, 3)), np.ones((1, 3)), np.array(["p"]), ("A", "B", "C")).to_pylist()
    assert all(math.isnan(row["cosine"]) and row["rmse"] == row["mae"] == 1.0 for row in rows)


def test_a_constant_side_has_no_correlation():
    x = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    rows = agreement_table(x, x, np.array(["p", "q"]), ("A", "B", "C")).to_pylist()
    cells = {row["id"]: row for row in rows if row["scope"] == "cell"}
    assert cells["p"]["pearson"] == pytest.approx(1.0)
    assert math.isnan(cells["q"]["pearson"])
    assert math.isnan(cells["q"]["spearman"])
    assert cells["q"]["mse"] == 0.0


def test_many_cells_are_sampled_evenly():
    rows = np.arange(1000) * 3
    assert np.array_equal(spaced(rows, 10, max_entries=10_000), rows)
    few = spaced(rows, 10, max_entries=500)
    assert len(few) == 50
    assert few[0] == 0
    assert few[-1] == rows[-1]
    assert np.ptp(np.diff(few)) <= 3
