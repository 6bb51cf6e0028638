"""Replicates: a weighted score is the score of the cells repeated as drawn, with what was fitted left as it is."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate import partitions, pcr, probe
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.connectivity import graph_connectivity, label_components
from sclamp.evaluate.graph import fuzzy_graph
from sclamp.evaluate.integration import Evaluation, score_embedding
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.resample import replicate, resamples
from sclamp.evaluate.statistic import Statistic, fixed, mean_of, mean_over_groups, median_of, on_rows

N = 300
RNG = np.random.default_rng(3)
LABELS, BATCHES = RNG.integers(4, size=N), RNG.integers(3, size=N)
POINTS = RNG.normal(size=(N, 6)) + 1.5 * RNG.normal(size=(4, 6))[LABELS]
CLUSTERS = [np.where(RNG.random(N) < 0.7, LABELS, RNG.integers(5, size=N)) for _ in range(3)]
DRAWS = list(resamples(N, 4, seed=0, cells="all"))


def repeated(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.repeat(values, weights.astype(int), axis=0)


@pytest.mark.parametrize("weights", [np.ones(N), *DRAWS])
def test_means_and_medians_are_those_of_the_drawn_cells(weights: np.ndarray) -> None:
    values = RNG.normal(size=N).round(1)
    assert median_of(values).of(weights) == np.median(repeated(values, weights))
    values[::7] = np.nan
    drawn, of = repeated(values, weights), repeated(LABELS, weights)
    assert mean_of(values).of(weights) == pytest.approx(np.nanmean(drawn))
    assert mean_over_groups(values, LABELS).of(weights) == pytest.approx(
        np.mean([np.nanmean(drawn[of == label]) for label in range(4)])
    )


@pytest.mark.parametrize("weights", [np.ones(N), *DRAWS])
def test_partitions_are_those_of_the_drawn_cells(weights: np.ndarray) -> None:
    from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score

    labels, clusters = repeated(LABELS, weights), [repeated(c, weights) for c in CLUSTERS]
    for score, theirs in ((partitions.nmi, normalized_mutual_info_score), (partitions.ari, adjusted_rand_score)):
        ours = partitions.over_clusterings(score, LABELS, CLUSTERS).of(weights)
        assert ours == pytest.approx(np.mean([theirs(labels, c) for c in clusters]), abs=1e-9)
    macro = partitions.macro_f1(LABELS, CLUSTERS[0]).of(weights)
    assert macro == pytest.approx(f1_score(labels, clusters[0], average="macro", zero_division=0), abs=1e-9)
    best = [max(f1_score(labels == i, c == k) for c in clusters for k in range(5)) for i in (1, 3)]
    assert partitions.isolated_f1(LABELS, np.array([1, 3]), CLUSTERS).of(weights) == pytest.approx(np.mean(best))


@pytest.mark.parametrize("weights", [np.ones(N), *DRAWS])
def test_pcr_is_that_of_the_drawn_cells(weights: np.ndarray) -> None:
    before = POINTS + BATCHES[:, None]
    ours = pcr.pcr_comparison(before, POINTS, BATCHES).of(weights)
    anew = pcr.pcr_comparison(repeated(before, weights), repeated(POINTS, weights), repeated(BATCHES, weights)).value
    assert ours == pytest.approx(anew, abs=1e-10)


@pytest.mark.parametrize("weights", [np.ones(N), *DRAWS])
def test_connectivity_keeps_its_components(weights: np.ndarray) -> None:
    graph = fuzzy_graph(find_neighbors(RNG.normal(size=(N, 3)), 4), 3)
    components, label_of = label_components(graph, LABELS)
    assert len(label_of) > 8
    shares = []
    for label in range(4):
        sizes = [weights[components == c].sum() for c in np.flatnonzero(label_of == label)]
        shares.append(max(sizes) / sum(sizes))
    assert graph_connectivity(graph, LABELS).of(weights) == pytest.approx(np.mean(shares))


def test_probe_that_leaves_batches_out_averages_over_batches() -> None:
    found = probe.leave_one_batch_out(POINTS, LABELS, BATCHES)
    for weights in DRAWS:
        right = repeated(found.truth == found.predicted, weights)
        per_batch = [right[repeated(BATCHES, weights) == b].mean() for b in range(3)]
        assert found.accuracy().of(weights) == pytest.approx(np.mean(per_batch))


def test_draws_depend_on_seed_and_scope_only() -> None:
    again = list(resamples(N, 6, seed=0, cells="all"))
    for first, second in zip(DRAWS, again, strict=False):
        np.testing.assert_array_equal(first, second)
        assert first.sum() == N
    others = (next(resamples(N, 1, seed=1, cells="all")), next(resamples(N, 1, seed=0, cells="held_out")), again[1])
    assert all((other != again[0]).any() for other in others)


def test_scores_without_a_weighted_form_have_no_replicates() -> None:
    known = {"a": mean_of(np.arange(N, dtype=float)), "b": fixed(0.5, N)}
    found = replicate(known, N, 400, 0, "all")
    assert set(found) == {"a"}
    standard_error = np.arange(N).std() / np.sqrt(N)
    assert found["a"].std() == pytest.approx(standard_error, rel=0.15)
    assert replicate({"b": fixed(0.5, N)}, N, 5, 0, "all") == {}
    assert known["b"].value == 0.5


def test_a_statistic_that_fails_has_no_replicates_and_leaves_the_others_alone(capsys: pytest.CaptureFixture) -> None:
    def broken(weights: np.ndarray) -> float:
        raise ZeroDivisionError("by zero")

    found = replicate({"a": Statistic(broken, N), "b": mean_of(np.arange(N, dtype=float))}, N, 5, 0, "all")
    assert set(found) == {"b"} and np.isfinite(found["b"]).all()
    assert capsys.readouterr().err.count("ZeroDivisionError: by zero") == 1


def test_a_draw_without_the_cells_a_score_speaks_of_keeps_the_score() -> None:
    rare = np.full(N, np.nan)
    rare[5] = 0.25
    for statistic in (mean_of(rare), mean_over_groups(rare, LABELS), on_rows(mean_of(rare[5:6]), np.array([5]), N)):
        weights = np.ones(N)
        weights[5] = 0
        assert statistic.of(weights) == statistic.value == 0.25


def test_a_part_is_computed_once_per_draw() -> None:
    asked = []
    statistic = Statistic(lambda w: asked.append(1) or float(w.sum()), 3)
    weights = np.ones(3)
    assert statistic.of(weights) == statistic.of(weights) == 3
    assert len(asked) == 1


def evaluated(model: int) -> Evaluation:
    points = POINTS + np.random.default_rng(model).normal(size=POINTS.shape)
    annotation = Annotation(BATCHES, LABELS, np.arange(N) % 3 == 0)
    return score_embedding(points, annotation, find_neighbors(points, 90), POINTS + BATCHES[:, None],
                           Evaluate(bootstrap=40))  # fmt: skip


def test_replicates_of_an_embedding_are_around_its_scores_and_pair_with_those_of_another() -> None:
    first, second = evaluated(1), evaluated(2)
    values = {(row.cells, row.task, row.score.metric): row.score.value for row in first.rows}
    assert set(first.replicates) == set(second.replicates)
    for cells in ("all", "held_out"):
        for metric in ("bio", "batch", "total"):
            key = (cells, "integration", metric)
            assert first.replicates[key].std() > 0
            assert abs(first.replicates[key].mean() - values[key]) < 0.1
        bio, batch, total = (first.replicates[cells, "integration", m] for m in ("bio", "batch", "total"))
        np.testing.assert_allclose(total, 0.6 * bio + 0.4 * batch)
    key = ("all", "integration", "silhouette_label")
    assert np.corrcoef(first.replicates[key], second.replicates[key])[0, 1] > 0.3


def test_no_resamples_are_made_where_none_are_asked_for() -> None:
    annotation = Annotation(BATCHES, LABELS, np.arange(N) % 3 == 0)
    found = score_embedding(POINTS, annotation, find_neighbors(POINTS, 90), None, Evaluate(bootstrap=0))
    assert found.replicates["all", "integration", "total"].shape == (0,)
