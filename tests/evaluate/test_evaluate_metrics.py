"""Single functions against independent oracles: scikit-learn, brute force, closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sclamp.evaluate import clustering, lisi, partitions, pcr, probe, silhouette, within_labels
from sclamp.evaluate.graph import fuzzy_graph, local_scales
from sclamp.evaluate.measure import NotApplicable, Unscorable, measure
from sclamp.evaluate.neighbors import find_neighbors

RNG = np.random.default_rng(0)


def blobs(n: int = 300, groups: int = 4, width: int = 6, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    codes = rng.integers(groups, size=n)
    return rng.normal(size=(n, width)) + spread * rng.normal(size=(groups, width))[codes], codes


# --- neighbours -----------------------------------------------------------------------------------------------------


def test_neighbours_equal_brute_force_far_from_the_origin() -> None:
    """An offset of 10,000 costs float32 searches their digits."""
    points = blobs(n=400)[0] + 1e4
    distances = np.sqrt(np.square(points[:, None] - points[None]).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    found = find_neighbors(points, 20)
    np.testing.assert_array_equal(found.indices, np.argsort(distances, axis=1, kind="stable")[:, :20])
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :20], rtol=1e-6)


def test_identical_cells_are_neighbours_but_never_their_own() -> None:
    points = np.repeat(blobs(n=30)[0], 4, axis=0)
    found = find_neighbors(points, 5)
    assert not (found.indices == np.arange(120)[:, None]).any()
    assert (found.distances[:, :3] == 0).all()
    assert (found.distances[:, 3:] > 0).all()
    for row, near in enumerate(found.indices):
        assert set(near[:3]) == {4 * (row // 4) + i for i in range(4)} - {row}


def test_constant_points_have_other_cells_as_neighbours() -> None:
    found = find_neighbors(np.ones((200, 3)), 10)
    assert not (found.indices == np.arange(200)[:, None]).any()
    assert (found.distances == 0).all()


@pytest.mark.parametrize(("n_cells", "k"), [(1, 0), (2, 1), (5, 4), (90, 89), (91, 90), (92, 90)])
def test_neighbours_are_capped_at_the_other_cells(n_cells: int, k: int) -> None:
    found = find_neighbors(RNG.normal(size=(n_cells, 3)), 90)
    assert found.indices.shape == found.distances.shape == (n_cells, k)


def test_neighbours_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(n=500)[0]
    whole = find_neighbors(points, 30)
    monkeypatch.setattr("sclamp.evaluate.neighbors.BLOCK", 37)
    parts = find_neighbors(points, 30)
    np.testing.assert_array_equal(whole.indices, parts.indices)
    np.testing.assert_array_equal(whole.distances, parts.distances)


# --- graph ----------------------------------------------------------------------------------------------------------


def test_local_scale_solves_its_equation() -> None:
    distances = np.sort(RNG.gamma(2, size=(50, 14)), axis=1).astype(np.float32)
    nearest, scale = local_scales(distances, np.log2(15))
    np.testing.assert_array_equal(nearest, distances[:, 0])
    total = np.exp(-(distances - nearest[:, None]) / scale[:, None]).sum(axis=1)
    np.testing.assert_allclose(total, np.log2(15), atol=1e-4)


def test_fuzzy_graph_of_constant_points_is_finite() -> None:
    graph = fuzzy_graph(find_neighbors(np.zeros((60, 2)), 20), 15)
    assert np.isfinite(graph.data).all()


# --- clusters -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=40))
def test_nmi_and_ari_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    first, second = np.array(pairs).T
    table = partitions.Table(first, second).counts(np.ones(len(first)))
    assert partitions.nmi(table) == pytest.approx(normalized_mutual_info_score(first, second), abs=1e-9)
    assert partitions.ari(table) == pytest.approx(adjusted_rand_score(first, second), abs=1e-9)


def test_best_f1_equals_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    members, clusters = (RNG.random(200) < 0.2).astype(int), RNG.integers(5, size=200)
    expected = max(f1_score(members, clusters == c) for c in range(5))
    assert partitions.isolated_f1(members, np.array([1]), [clusters]).value == pytest.approx(expected)


def test_kmeans_finds_groups_that_are_apart() -> None:
    points, codes = blobs(spread=20.0)
    for seed in range(5):
        found = clustering.kmeans(points - points.mean(axis=0), 4, np.random.default_rng(seed))
        assert partitions.over_clusterings(partitions.ari, codes, [found]).value == 1


def test_kmeans_is_as_good_as_scikit_learn_on_average() -> None:
    from sklearn.cluster import KMeans

    points = blobs(n=300, groups=8, spread=1.2)[0]
    points -= points.mean(axis=0)

    def inertia(clusters: np.ndarray) -> float:
        return sum(np.square(points[clusters == c] - points[clusters == c].mean(axis=0)).sum() for c in set(clusters))

    ours = [inertia(clustering.kmeans(points, 8, np.random.default_rng(seed))) for seed in range(40)]
    theirs = [KMeans(8, n_init=1, random_state=seed).fit(points).inertia_ for seed in range(40)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.015)
    assert min(ours) == pytest.approx(min(theirs), rel=0.005)


def test_kmeans_with_fewer_distinct_points_than_clusters() -> None:
    points = np.repeat(np.eye(2) - 0.5, 10, axis=0)
    found = clustering.kmeans(points, 5, np.random.default_rng(0))
    assert found.shape == (20,)
    assert partitions.isolated_f1((np.arange(20) < 10).astype(int), np.array([1]), [found]).value == 1


# --- silhouettes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [64, 1024])
def test_silhouettes_equal_scikit_learn(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics import silhouette_samples

    monkeypatch.setattr("sclamp.evaluate.silhouette.BLOCK", block)
    points, codes = blobs()
    codes[0] = 4  # alone in its group
    points[1] = points[2]
    np.testing.assert_allclose(
        silhouette.silhouette_widths(points, codes), silhouette_samples(points, codes), atol=1e-7
    )


def test_silhouettes_of_identical_cells_are_zero() -> None:
    assert (silhouette.silhouette_widths(np.ones((6, 2)), np.array([0, 0, 0, 1, 1, 1])) == 0).all()


def test_batch_silhouettes_leave_out_labels_of_one_batch_and_of_single_cells() -> None:
    points = RNG.normal(size=(12, 3))
    labels = np.array([0] * 6 + [1] * 4 + [2] * 2)  # label 1: one batch; label 2: each cell its own batch
    batches = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1])
    for mixing in (within_labels.silhouette_mixing, within_labels.bras_mixing):
        values = mixing(points, labels, batches)
        np.testing.assert_allclose(values[:6], mixing(points[:6], labels[:6], batches[:6]))
        assert np.isnan(values[6:]).all()
        with pytest.raises(NotApplicable, match="no label has cells of two batches"):
            mixing(points[6:], labels[6:], batches[6:])


def test_bras_needs_directions() -> None:
    points = RNG.normal(size=(8, 3))
    points[2] = 0
    with pytest.raises(Unscorable, match="1 of 8 cells are the zero vector"):
        within_labels.bras_mixing(points, np.zeros(8, int), np.arange(8) % 2)


# --- LISI, PCR ------------------------------------------------------------------------------------------------------


def test_lisi_of_one_group_is_one_and_of_even_groups_their_number() -> None:
    indices = np.tile(np.arange(60), (4, 1))
    weights = lisi.neighbor_weights(np.ones((4, 60)), 20)
    np.testing.assert_allclose(weights, 1 / 60)
    assert lisi.lisi(weights, indices, np.zeros(60, int)) == pytest.approx(1)
    assert lisi.lisi(weights, indices, np.arange(60) % 3) == pytest.approx(3)


def test_lisi_survives_distances_that_underflow() -> None:
    """At these distances exp(-d) is zero: scib-metrics answers -1, an impossible number of groups, or NaN."""
    distances = np.sort(RNG.gamma(5, size=(3, 90)), axis=1) * 1e18
    values = lisi.lisi(lisi.neighbor_weights(distances, 30), np.tile(np.arange(90), (3, 1)), np.arange(90) % 2)
    assert ((values >= 1) & (values <= 2)).all()


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100), st.integers(10, 60))
def test_lisi_weights_have_the_wanted_entropy(scale: float, k: int) -> None:
    distances = np.sort(np.random.default_rng(k).gamma(3, size=(20, k)), axis=1) * scale
    weights = lisi.neighbor_weights(distances, k // 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(weights * np.log(weights), axis=1)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(entropy, np.log(k // 3), atol=1e-4)


def test_cilisi_does_not_reward_mixed_labels() -> None:
    """Label decides the batch almost everywhere: mixing labels raises iLISI, not ciLISI."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    batches = np.where(rng.random(400) < 0.05, 1 - labels, labels)
    mixed = rng.normal(size=(400, 5))
    near = find_neighbors(mixed, 90)
    values = lisi.lisi(lisi.neighbor_weights(near.distances, 30), near.indices, batches)
    overall = lisi.scaled_ilisi(float(np.median(values)), 2)
    assert overall > 0.8
    assert np.nanmean(lisi.cilisi(mixed, labels, batches, 90)) < 0.3


def test_cilisi_leaves_out_small_labels_and_those_of_one_batch() -> None:
    labels, batches = np.array([0] * 40 + [1] * 30 + [2] * 9), np.arange(79) % 2
    batches[40:70] = 1
    values = lisi.cilisi(RNG.normal(size=(79, 3)), labels, batches, 90)
    assert np.isfinite(values[:40]).all()
    assert np.isnan(values[40:]).all()
    with pytest.raises(NotApplicable, match="no label has two batches and 10 cells"):
        lisi.cilisi(RNG.normal(size=(39, 3)), labels[40:], batches[40:], 90)


def test_pcr_is_one_where_batches_are_centred_and_zero_where_nothing_changed() -> None:
    batches = np.arange(90) % 3
    before = RNG.normal(size=(90, 4)) + batches[:, None]
    after = before - np.array([before[batches == b].mean(axis=0) for b in range(3)])[batches]
    assert pcr.pcr_comparison(before, after, batches).value == pytest.approx(1)
    assert pcr.pcr_comparison(before, before, batches).value == 0
    assert pcr.pcr_comparison(after + 0.01 * batches[:, None], before, batches).value == 0
    with pytest.raises(NotApplicable, match="explain no variance"):
        pcr.pcr_comparison(np.tile(np.eye(3), (3, 1)), after[:9], np.repeat(np.arange(3), 3))


# --- probes ---------------------------------------------------------------------------------------------------------


def test_probe_equals_scikit_learns_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    points, codes = blobs(spread=0.8)
    ours = probe.fit_probe(points, codes)
    features = StandardScaler().fit_transform(points)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(features, codes)
    np.testing.assert_allclose(ours.weights.T, theirs.coef_, atol=1e-3)
    assert (ours.predict(points) == theirs.predict(features)).mean() > 0.995


def test_probe_ignores_constant_features_and_keeps_class_names() -> None:
    points, codes = blobs()
    fitted = probe.fit_probe(np.column_stack([points, np.full(len(points), 3.0)]), codes * 10 + 5)
    assert set(fitted.predict(np.column_stack([points, np.full(len(points), 3.0)]))) == {5, 15, 25, 35}


def test_macro_f1_equals_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    truth, said = RNG.integers(4, size=100), RNG.integers(5, size=100)
    assert partitions.macro_f1(truth, said).value == pytest.approx(f1_score(truth, said, average="macro"))
    assert probe.accuracy(truth, said).value == (truth == said).mean()


def test_leave_one_batch_out_is_perfect_without_and_poor_with_opposed_batches() -> None:
    points, codes = blobs(groups=2, spread=5.0)
    batches = np.arange(len(points)) % 2
    found = probe.leave_one_batch_out(points, codes, batches)
    assert (found.accuracy().value, found.macro_f1().value) == (1.0, 1.0)
    opposed = points - points.mean(axis=0)
    opposed[batches == 1] *= -1
    assert probe.leave_one_batch_out(opposed, codes, batches).accuracy().value < 0.5


def test_leave_one_batch_out_counts_labels_it_cannot_know_as_errors() -> None:
    points, codes = blobs(groups=3, spread=30.0)
    batches = np.where(codes == 2, 1, np.arange(len(points)) % 2)
    accuracy = probe.leave_one_batch_out(points, codes, batches).accuracy().value
    unknown_share = (codes[batches == 1] == 2).mean()
    assert accuracy == pytest.approx((1 + (1 - unknown_share)) / 2)


def test_leave_one_batch_out_needs_two_labels_to_learn() -> None:
    with pytest.raises(NotApplicable, match="a single label remains"):
        probe.leave_one_batch_out(RNG.normal(size=(20, 2)), np.arange(20) // 10, np.arange(20) // 10)


# --- the wrapper ----------------------------------------------------------------------------------------------------


def _fail(error: Exception) -> float:
    raise error


@pytest.mark.parametrize(
    ("compute", "status", "reason"),
    [
        (lambda: 0.5, "ok", ""),
        (lambda: float("nan"), "failed", "the value is nan"),
        (lambda: float("inf"), "failed", "the value is inf"),
        (lambda: _fail(NotApplicable("one batch only")), "not_applicable", "one batch only"),
        (lambda: _fail(Unscorable("NaN everywhere")), "failed", "NaN everywhere"),
        (lambda: _fail(KeyError("x")), "failed", "KeyError: 'x'"),
    ],
)
def test_every_outcome_becomes_a_score(compute, status: str, reason: str, capsys: pytest.CaptureFixture) -> None:
    score = measure("m", "how", compute)
    assert (score.metric, score.implementation, score.status, score.reason) == ("m", "how", status, reason)
    assert (score.value == 0.5) if status == "ok" else np.isnan(score.value)
    assert ("Traceback" in capsys.readouterr().err) == reason.startswith("KeyError")
