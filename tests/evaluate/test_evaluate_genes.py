"""Marker genes, modules and co-expression of gene embeddings, each against another way to compute it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import davies_bouldin_score, roc_auc_score

from sclamp.config.evaluate import Evaluate
from sclamp.data.h5ad import read_cells
from sclamp.evaluate import coexpression, gene_modules, gene_ranks, marker_scores
from sclamp.evaluate.gene_modules import Modules, davies_bouldin, enrichment, significant, smallest_term
from sclamp.evaluate.gene_terms import adjusted, terms_of, upper_tail
from sclamp.evaluate.gene_vectors import GeneVectors
from sclamp.evaluate.genes import GeneScores, score_genes
from sclamp.evaluate.measure import NotApplicable

Counts = Callable[..., Path]


def planted(path: Path, width: int = 3) -> tuple[GeneVectors, np.ndarray]:
    """Latents whose product is the expression: the best rank-3 factors of the training cells, applied to all cells."""
    data = ad.read_h5ad(path)
    x = np.log1p(data.X.toarray() / data.obs["library_size"].to_numpy(np.float64)[:, None] * 1e4)
    x = x - x[(data.obs["split"] == "train").to_numpy()].mean(axis=0)
    loadings = np.linalg.svd(x[(data.obs["split"] == "train").to_numpy()], full_matrices=False)[2][:width].T
    return GeneVectors(data.var_names.to_numpy(object), loadings.astype(np.float32)), (x @ loadings).astype(np.float32)


def scored(path: Path, genes: GeneVectors, cells: np.ndarray, given: object = None, terms: object = None) -> GeneScores:
    return score_genes(genes, cells, path, read_cells(path), given, terms, Evaluate())  # type: ignore[arg-type]


def values(found: GeneScores) -> pd.DataFrame:
    return pd.DataFrame([{"cells": row.cells, **vars(row.score)} for row in found.rows]).set_index("metric")


def lognorm(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    data = ad.read_h5ad(path)
    x = np.log1p(data.X.toarray() / data.obs["library_size"].to_numpy(np.float64)[:, None] * 1e4)
    return pd.DataFrame(x, data.obs_names, data.var_names), data.obs


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_ranks_and_areas_equal_scipy_and_sklearn_with_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 40, 300):
        x, y, positive = rng.integers(0, 6, n).astype(float), rng.normal(size=n).round(1), rng.random(n) < 0.3
        positive[:2] = True, False
        np.testing.assert_array_equal(gene_ranks.average_ranks(x), stats.rankdata(x))
        assert gene_ranks.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert gene_ranks.auroc(x, positive) == pytest.approx(roc_auc_score(positive, x), abs=1e-12)
    assert np.isnan(gene_ranks.spearman(np.ones(4), np.arange(4)))
    assert np.isnan(gene_ranks.auroc(np.arange(3), np.ones(3, bool)))


def test_precision_counts_ties_at_the_edge_by_their_share() -> None:
    positive = np.array([True, False, True, False, False])
    assert marker_scores.precision(np.array([5.0, 4, 3, 2, 1]), positive) == 0.5
    assert marker_scores.precision(np.array([5.0, 4, 4, 2, 1]), positive) == pytest.approx((1 + 0.5) / 2)
    assert marker_scores.precision(np.zeros(5), positive) == pytest.approx(2 / 5)
    many = np.arange(60) < 30
    assert marker_scores.precision(-np.arange(60.0), many) == 1
    assert marker_scores.precision(-np.abs(np.arange(60.0) - 30.2), many) == 0.45


# --- markers ----------------------------------------------------------------------------------------------------------


def test_marker_scores_equal_a_dense_computation(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=300, n_genes=60)
    genes, cells = planted(path)
    x, obs = lognorm(path)
    label, train = obs["label"].astype(str).to_numpy(), (obs["split"] == "train").to_numpy()
    held, area, exact, rho = x[~train], [], [], []
    for kind in sorted(set(label)):
        near = (cells[train & (label == kind)].mean(0) - cells[train].mean(0)) @ genes.raw.T
        own = label[~train] == kind
        difference = held[own].mean() - held[~own].mean()
        passing = difference[((held[own] > 0).mean() >= 0.25) & (difference > 0.25)]
        markers = np.isin(x.columns, passing.sort_values(ascending=False).index[:20])
        area.append(roc_auc_score(markers, near))
        exact.append(markers[np.argsort(-near)[: markers.sum()]].mean())
        rho.append(stats.spearmanr(near, difference).statistic)
    table = values(scored(path, genes, cells))
    found = table.loc[["marker_auroc", "marker_precision", "marker_spearman"], "value"]
    np.testing.assert_allclose(found, [np.mean(area), np.mean(exact), np.mean(rho)], atol=1e-6)
    assert found.min() > 0.6 and set(table.loc[found.index, "cells"]) == {"held_out"}
    assert table.loc["marker_auroc_shuffled", "value"] == pytest.approx(0.5, abs=0.06)
    assert table.loc["marker_spearman_shuffled", "value"] == pytest.approx(0.0, abs=0.1)
    assert table.loc["marker_precision_shuffled", "value"] < found["marker_precision"] - 0.2


def test_held_out_labels_do_not_move_proximities_and_training_cells_do_not_move_the_truth(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=300, n_genes=60)
    genes, cells = planted(path)
    one = scored(path, genes, cells).markers.to_pandas().set_index(["cell_type", "gene_id"]).sort_index()
    train = (ad.read_h5ad(path).obs["split"] == "train").to_numpy()
    moved = cells.copy()
    moved[~train] += 100
    two = scored(path, genes, moved).markers.to_pandas().set_index(["cell_type", "gene_id"]).sort_index()
    pd.testing.assert_frame_equal(one, two)
    moved = cells.copy()
    moved[train] = moved[train][::-1]
    three = scored(path, genes, moved).markers.to_pandas().set_index(["cell_type", "gene_id"]).sort_index()
    np.testing.assert_array_equal(one["difference"], three["difference"])
    assert not np.allclose(one["proximity"], three["proximity"])


def test_marker_table_holds_both_rankings(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=300, n_genes=40)
    table = scored(path, *planted(path)).markers.to_pandas()
    assert list(table) == ["cell_type", "gene_id", "rank", "proximity", "difference", "difference_rank"]
    assert table.groupby("cell_type").size().to_dict() == {"alpha": 40, "beta": 40, "delta": 40}
    for _, own in table.groupby("cell_type"):
        assert list(own["rank"]) == list(range(1, 41)) and (np.diff(own["proximity"]) <= 0).all()
        by_difference = own.sort_values("difference_rank")
        assert list(by_difference["difference_rank"]) == list(range(1, 41))
        assert (np.diff(by_difference["difference"]) <= 0).all()


def test_a_given_list_is_scored_on_its_own_types(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=300, n_genes=60)
    genes, cells = planted(path)
    near = scored(path, genes, cells).markers.to_pandas()
    best = near[(near["cell_type"] == "alpha") & (near["rank"] <= 4)]["gene_id"]
    given = pd.DataFrame({"cell_type": "alpha", "gene_id": [*best, "ELSEWHERE"]})
    table = values(scored(path, genes, cells, given))
    assert table.loc["given_marker_auroc", "value"] == table.loc["given_marker_precision", "value"] == 1
    assert table.loc["given_marker_auroc", "cells"] == "all"
    assert 0.3 < table.loc["given_marker_auroc_shuffled", "value"] < 0.7
    for given, reason in (
        (["alpa", "G0001"], "type 'alpa' does not exist; did you mean 'alpha'?"),
        (["alpha", "X"], "no marker of the list is among the 60 embedded"),
    ):
        given = pd.DataFrame([given], columns=["cell_type", "gene_id"])
        row = values(scored(path, genes, cells, given)).loc["given_marker_auroc"]
        assert row["status"] == "not_applicable" and reason in row["reason"]
    reason = values(scored(path, genes, cells)).loc["given_marker_auroc", "reason"]
    assert reason == "no list of marker genes is given (markers)"


def test_reasons_why_there_are_no_marker_scores(tiny_counts: Counts) -> None:
    path = tiny_counts()
    genes, cells = planted(path)

    def reason(genes: GeneVectors = genes, cells: np.ndarray = cells, **obs: object) -> tuple[str, str]:
        data = ad.read_h5ad(path)
        for column, value in obs.items():
            data.obs[column] = value
        data.obs = data.obs.drop(columns=[c for c, v in obs.items() if v is None])
        data.write_h5ad(path.with_name("other.h5ad"))
        row = values(scored(path.with_name("other.h5ad"), genes, cells)).loc["marker_auroc"]
        return row["status"], row["reason"]

    wide = np.column_stack([cells, cells])
    assert reason(cells=wide) == (
        "not_applicable", "gene vectors have 3 dimensions, cell vectors 6: they share no space",
    )  # fmt: skip
    assert reason(label=None) == ("not_applicable", "the data set has no label column")
    assert reason(label="one") == ("not_applicable", "1 cell types have 5 training cells: at least 2 are needed")
    assert reason(split=None) == reason(split="train") == ("not_applicable", "no cells are held out")
    data = ad.read_h5ad(path)
    held = (data.obs["split"] != "train").to_numpy()
    one = np.where(held, "alpha", data.obs["label"].astype(str))
    assert "1 cell types have 5 held-out and 5 training cells" in reason(label=one)[1]
    broken = cells.copy()
    broken[np.flatnonzero(~held)[0]] = np.nan
    assert reason(cells=broken) == ("failed", "training cells have NaN or infinite values in their embedding")
    assert reason(GeneVectors(genes.ids, genes.raw * np.nan))[1].startswith("60 of 60 genes have NaN or infinite")
    assert reason(GeneVectors(genes.ids, np.ones((60, 3), np.float32)))[1] == "all 60 genes have the same embedding"


# --- modules ----------------------------------------------------------------------------------------------------------


def clustered(n: int = 120, groups: int = 4, spread: float = 0.15) -> tuple[GeneVectors, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = np.arange(n) % groups
    points = np.eye(groups)[codes] * rng.uniform(1, 9, (n, 1)) * (1 + spread * rng.normal(size=(n, groups)))
    points += spread * rng.normal(size=points.shape)
    return GeneVectors(np.array([f"G{i:04d}" for i in range(n)], object), points.astype(np.float32)), codes


def annotation(codes: np.ndarray, ids: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """A term per group with most of its genes, and 20 terms at random."""
    rng = np.random.default_rng(seed)
    pairs = [(f"group {c}", gene) for c, gene in zip(codes, ids, strict=True) if rng.random() < 0.8]
    pairs += [(f"random {i}", gene) for i in range(20) for gene in rng.permutation(ids)[:12]]
    return pd.DataFrame(pairs, columns=["term", "gene_id"])


def test_modules_are_the_planted_groups_and_carry_their_terms() -> None:
    genes, codes = clustered()
    modules = Modules(genes, annotation(codes, genes.ids), Evaluate())
    assert stats.contingency.crosstab(modules.modules, codes)[1].astype(bool).sum() == 4
    sizes = np.bincount(modules.modules)
    assert (np.diff(sizes) <= 0).all()
    rows = {row.score.metric: row.score.value for row in gene_modules.score_modules(modules)}
    assert rows["modules_enriched"] == 1 and rows["terms_enriched"] == pytest.approx(4 / 24)
    assert rows["modules_enriched_shuffled"] == rows["terms_enriched_shuffled"] == 0
    assert rows["module_davies_bouldin"] < 0.9 * rows["module_davies_bouldin_shuffled"]
    table = significant(modules.tests)
    assert len(table) == 4 and set(table["term"]) == {f"group {i}" for i in range(4)}
    again = Modules(genes, annotation(codes, genes.ids), Evaluate())
    np.testing.assert_array_equal(again.modules, modules.modules)


def test_modules_see_directions_not_lengths() -> None:
    genes, _ = clustered()
    rng = np.random.default_rng(1)
    scaled = GeneVectors(genes.ids, (genes.raw * rng.uniform(0.1, 10, (len(genes), 1))).astype(np.float32))
    one, two = (Modules(g, None, Evaluate()).modules for g in (genes, scaled))
    np.testing.assert_array_equal(one, two)


def test_enrichment_equals_scipys_hypergeometric_distribution() -> None:
    genes, codes = clustered(n=90)
    pairs = annotation(codes, genes.ids)
    pairs = pairs[pairs["gene_id"] != "G0003"]  # a gene without any term is not in the background
    terms = terms_of(pairs, genes.ids)
    table = enrichment(codes, terms)
    assert len(table) == 4 * len(terms.names) and not terms.annotated[3]
    background = np.flatnonzero(terms.annotated)
    for row in table.itertuples():
        has = np.isin(genes.ids, pairs.loc[pairs["term"] == row.term, "gene_id"])[background]
        own = codes[background] == row.module
        assert (row.n_module, row.n_term, row.overlap) == (own.sum(), has.sum(), (own & has).sum())
        expected = stats.hypergeom.sf(row.overlap - 1, len(background), row.n_term, row.n_module)
        assert row.p == pytest.approx(expected, rel=1e-10)
        cells = [row.overlap, (~own & ~has).sum(), (own & ~has).sum(), (~own & has).sum()]
        a, d, b, c = (n + 0.5 for n in cells)
        assert row.odds_ratio == pytest.approx(a * d / (b * c))
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]), rtol=1e-12)


def test_tails_hold_over_all_sizes() -> None:
    rng = np.random.default_rng(0)
    total = 3000
    marked, drawn = rng.integers(1, 501, 400), rng.integers(1, 2900, 400)
    drawn[0], marked[0] = total, 77
    overlap = rng.hypergeometric(marked, total - marked, drawn)
    overlap = np.clip(
        overlap + rng.integers(-40, 41, 400), np.maximum(0, marked + drawn - total), np.minimum(marked, drawn)
    )
    expected = stats.hypergeom.sf(overlap - 1, total, marked, drawn)
    assert expected.min() < 1e-6 and expected.max() > 1 - 1e-9
    np.testing.assert_allclose(upper_tail(overlap, drawn, marked, total), expected, rtol=1e-8)
    # A first probability of 1e-500 underflows; the tail is still 1.
    assert upper_tail(np.array([1]), np.array([19000]), np.array([500]), 20000) == pytest.approx(1)
    np.testing.assert_allclose(adjusted(np.array([0.01, 0.04, 0.03, 1.0])), [0.04, 0.16 / 3, 0.16 / 3, 1])


def test_davies_bouldin_equals_sklearn() -> None:
    rng = np.random.default_rng(0)
    for n, groups in ((30, 2), (200, 13), (50, 40)):
        points, codes = rng.normal(size=(n, 5)) + 3, rng.permutation(np.arange(n) % groups) * 7
        assert davies_bouldin(points, codes) == pytest.approx(davies_bouldin_score(points, codes), abs=1e-8)


def test_each_gene_stands_in_its_smallest_term() -> None:
    ids = np.array([f"g{i}" for i in range(30)], object)
    members = {"wide": range(20), "narrow": range(6), "also narrow": range(4, 10), "few": range(27, 30)}
    members |= {"alone": [0, 11, 12, 13, 14]}
    pairs = pd.DataFrame([(t, f"g{i}") for t, own in members.items() for i in own], columns=["term", "gene_id"])
    terms = terms_of(pairs, ids)
    assert list(terms.names) == ["alone", "also narrow", "narrow", "wide"]  # `few` has 3 genes
    assert terms.annotated.sum() == 23
    rows, groups = smallest_term(terms)
    named = dict(zip(rows.tolist(), terms.names[groups], strict=True))
    assert named == {
        0: "alone", 1: "narrow", 2: "narrow", 3: "narrow", **dict.fromkeys(range(4, 10), "also narrow"), 10: "wide",
        **dict.fromkeys(range(11, 15), "alone"), **dict.fromkeys(range(15, 20), "wide"),
    }  # fmt: skip
    pairs = pairs[pairs["term"] != "alone"]
    pairs = pd.concat([pairs, pd.DataFrame({"term": "once", "gene_id": ["g20", *ids[:4]]})])
    rows, groups = smallest_term(terms_of(pairs, ids))
    assert 20 in rows and set(range(4)) <= set(rows.tolist())
    only = pd.DataFrame({"term": ["a"] * 5 + ["b"] * 6, "gene_id": [*ids[:5], *ids[:6]]})
    assert smallest_term(terms_of(only, ids))[0].tolist() == [0, 1, 2, 3, 4]  # g5 alone would be left of b


def test_reasons_why_there_are_no_module_scores() -> None:
    genes, codes = clustered(n=20, groups=2)
    reasons = {}
    for name, settings, pairs in (
        ("few", Evaluate(graph_neighbors=20), annotation(codes, genes.ids)),
        ("none", Evaluate(graph_neighbors=5), None),
        ("small", Evaluate(graph_neighbors=5), pd.DataFrame({"term": ["a"] * 4, "gene_id": genes.ids[:4]})),
        ("one", Evaluate(graph_neighbors=5), pd.DataFrame({"term": ["a"] * 6, "gene_id": genes.ids[:6]})),
    ):
        rows = gene_modules.score_modules(Modules(genes, pairs, settings))
        reasons[name] = {row.score.metric: row.score.reason for row in rows}
        assert all(row.score.status in ("ok", "not_applicable") for row in rows)
    assert reasons["few"]["modules_enriched"] == "20 genes are too few for neighbourhoods of 20"
    assert reasons["none"]["terms_enriched"] == "no annotation of genes is given (evaluate.gene_terms)"
    assert reasons["small"]["modules_enriched"] == "no term has 5 to 500 of the 20 embedded genes"
    assert reasons["one"]["module_davies_bouldin"] == "the genes' smallest terms make fewer than 2 groups"
    assert reasons["one"]["modules_enriched"] == ""


# --- co-expression ----------------------------------------------------------------------------------------------------


def test_correlations_equal_numpy_and_name_constant_genes(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=150, n_genes=40)
    data = ad.read_h5ad(path)
    x = data.X.toarray()
    x[:, 7] = 0
    data.X = type(data.X)(x)
    data.write_h5ad(path)
    held = (data.obs["split"] != "train").to_numpy()
    columns = np.array([3, 7, 39, 12, 0])
    found, varies = coexpression.correlations(path, read_cells(path), held, columns)
    kept = columns[[0, 2, 3, 4]]
    assert varies.tolist() == [True, False, True, True, True]
    expected = np.corrcoef(lognorm(path)[0].to_numpy()[held][:, kept].T)
    np.testing.assert_allclose(found[np.ix_(varies, varies)], expected, atol=1e-9)


def test_coexpression_scores_equal_scipy(tiny_counts: Counts) -> None:
    path = tiny_counts(n_cells=300, n_genes=60)
    genes, cells = planted(path)
    x, obs = lognorm(path)
    correlation = np.corrcoef(x[obs["split"] != "train"].to_numpy().T)
    unit = genes.raw / np.linalg.norm(genes.raw, axis=1, keepdims=True)
    cosine = unit @ unit.T
    upper = np.triu_indices(60, 1)
    shared = []
    for g in range(60):
        others = np.setdiff1d(np.arange(60), [g])
        near, true = (set(others[np.argsort(-m[g, others])[:10]]) for m in (cosine, correlation))
        shared.append(len(near & true) / 10)
    table = values(scored(path, genes, cells))
    assert table.loc["coexpression_spearman", "value"] == pytest.approx(
        stats.spearmanr(cosine[upper], correlation[upper]).statistic, abs=1e-5
    )
    assert table.loc["coexpression_neighbors", "value"] == pytest.approx(np.mean(shared), abs=1e-9)
    assert table.loc["coexpression_spearman", "value"] > 0.4
    assert "by chance 0.169" in table.loc["coexpression_neighbors", "implementation"]


def test_of_many_genes_a_seeded_sample_is_compared(tiny_counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_counts(n_cells=200, n_genes=60)
    genes, cells = planted(path)
    everything = values(scored(path, genes, cells)).loc["coexpression_spearman", "value"]
    monkeypatch.setattr(coexpression, "MOST_GENES", 40)
    one, two = (values(scored(path, genes, cells)).loc["coexpression_spearman"] for _ in range(2))
    assert one["value"] == two["value"] != everything
    assert abs(one["value"] - everything) < 0.15 and "40 genes sampled" in one["implementation"]


def test_reasons_why_there_is_no_coexpression_score(tiny_counts: Counts) -> None:
    path = tiny_counts()
    genes, _ = planted(path)
    held = np.zeros(120, bool)
    for n, few, reason in (
        (2, 60, "2 cells are held out: at least 3 are needed"),
        (40, 8, "8 genes vary among the held-"),
    ):
        held[:n] = True
        part = GeneVectors(genes.ids[:few], genes.raw[:few])
        with pytest.raises(NotApplicable, match=reason):
            coexpression.CoExpression(part, path, read_cells(path), held, 0).agreement()
