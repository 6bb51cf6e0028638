"""Scores of left-out genes and the ridge baseline, against scikit-learn, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.evaluate import ridge as baselines
from sclamp.evaluate.left_out import METRICS, Prediction, baseline, gene_columns, score_left_out
from sclamp.evaluate.measure import NotApplicable

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("genes", "width"), [(40, 7), (15, 30)], ids=["more genes", "longer vectors"])
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_ridge_equals_scikit_learn(genes: int, width: int, penalty: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    vectors, new = RNG.normal(2, 1, (genes, width)), RNG.normal(2, 1, (9, width))
    known = RNG.normal(1, 2, (5, genes))
    unit = np.square(vectors - vectors.mean(0)).sum() / min(genes, width)
    reference = linear_model.Ridge(alpha=penalty * unit)
    expected = np.stack([reference.fit(vectors, cell).predict(new) for cell in known])
    assert baselines.ridge(known, vectors, new, penalty) == pytest.approx(expected, abs=1e-8)


def test_ridge_ignores_the_order_of_genes() -> None:
    vectors, new, known = RNG.normal(size=(30, 6)), RNG.normal(size=(8, 6)), RNG.normal(size=(4, 30))
    order = RNG.permutation(30)
    found = baselines.ridge(known[:, order], vectors[order], new[::-1], 0.3)
    assert found == pytest.approx(baselines.ridge(known, vectors, new, 0.3)[:, ::-1], abs=1e-10)


def test_the_penalty_follows_what_the_vectors_say() -> None:
    """Where expression is a linear function of the vectors, hardly any; where they say nothing, the most."""
    vectors = RNG.normal(size=(60, 5))
    linear = RNG.normal(size=(50, 5)) @ vectors.T
    assert baselines.chosen_penalty(linear + 0.01 * RNG.normal(size=linear.shape), vectors) <= 0.01
    level = RNG.normal(size=(200, 1)) + RNG.normal(size=(200, 60))  # cells differ by their level alone
    assert baselines.chosen_penalty(level, vectors) >= 10


def test_a_baseline_that_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_SIDE", 10)
    known, vectors, new = np.ones((3, 20)), np.ones((20, 11)), np.ones((2, 11))
    with pytest.raises(NotApplicable, match="20 genes with vectors of 11 values are too many for this baseline"):
        baselines.ridge(known, vectors, new, 1.0)
    assert "too many for this baseline" in str(baseline(known, known, vectors, new))


def test_correlations_of_columns_equal_numpy_and_are_undefined_for_constants() -> None:
    x, y = RNG.normal(size=(20, 4)).astype(np.float32), RNG.normal(size=(20, 4)).astype(np.float32)
    y[:, 2] = 0.1
    found = baselines.correlations(x, y)
    assert np.isnan(found[2])
    for gene in (0, 1, 3):
        assert found[gene] == pytest.approx(np.corrcoef(x[:, gene], y[:, gene])[0, 1], abs=1e-6)


@pytest.fixture
def found() -> Prediction:
    truth = RNG.normal(size=(30, 6))
    predicted = truth + RNG.normal(size=truth.shape)
    predicted[:, 4] = 0.5  # a prediction that is the same in every cell
    expressed = np.array([0.1, 0.2, 0.21, 0.5, 0.9, 1.0])
    return Prediction(np.array(list("abcdef"), object), truth, predicted, np.linspace(0, 1, 6), expressed, truth * 2)


def test_scores_equal_their_definitions(found: Prediction) -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = score_left_out(found)
    assert {(row.cells, row.task) for row in rows} == {("held_out", "left_out_genes")}
    values = {row.score.metric: row.score.value for row in rows}
    of_genes = {g: stats.pearsonr(found.truth[:, g], found.predicted[:, g]).statistic for g in (0, 1, 2, 3, 5)}
    of_cells = [stats.pearsonr(a, b).statistic for a, b in zip(found.truth, found.predicted, strict=True)]
    assert values == pytest.approx(
        {
            "pearson_gene": np.mean(list(of_genes.values())),
            "pearson_gene_expressed": np.mean([of_genes[g] for g in (2, 3, 5)]),
            "pearson_cell": np.mean(of_cells),
            "mse": np.square(found.truth - found.predicted).mean(),
            "mse_of_mean": np.square(found.truth - found.mean).mean(),
            "ridge_pearson_gene": 1.0,
        }
    )
    columns = gene_columns(found)
    assert list(columns) == ["gene_id", "n", "share_expressed", "pearson", "mse", "mse_mean", "ridge_pearson"]
    assert columns["gene_id"].tolist() == list("abcdef") and set(columns["n"]) == {30}
    assert columns["pearson"][3] == pytest.approx(of_genes[3]) and np.isnan(columns["pearson"][4])


def test_what_cannot_be_scored_says_why(found: Prediction) -> None:
    rows = score_left_out(None, "mode 'pca' cannot")
    assert [row.score.metric for row in rows] == list(METRICS)
    assert {(row.score.status, row.score.reason) for row in rows} == {("not_applicable", "mode 'pca' cannot")}
    assert all(len(values) == 0 for values in gene_columns(None).values())
    assert gene_columns(None).keys() == gene_columns(found).keys()
    without = Prediction(**{**vars(found), "ridge": "too many", "expressed": np.zeros(6)})
    reasons = {row.score.metric: row.score.reason for row in score_left_out(without) if row.score.reason}
    assert reasons.keys() == {"ridge_pearson_gene", "pearson_gene_expressed"}
    assert reasons["ridge_pearson_gene"] == "too many"
    assert "too few, or constant" in reasons["pearson_gene_expressed"]
    assert np.isnan(gene_columns(without)["ridge_pearson"]).all()
