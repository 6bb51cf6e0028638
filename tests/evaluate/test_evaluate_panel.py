"""The panel as a whole: awkward data get statuses and reasons, and sensible embeddings sensible scores."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate.aggregate import BATCH, BIO, aggregate
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.cells import problem_of, stratified_sample
from sclamp.evaluate.controls import control_embedding
from sclamp.evaluate.integration import score_embedding
from sclamp.evaluate.measure import Measured
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.rows import Row
from sclamp.evaluate.statistic import Statistic
from sclamp.types import Score

N = 420
UNSEEN = ("unseen_label_accuracy", "unseen_label_macro_f1", "unseen_knn_accuracy", "unseen_mixing")


def data(n: int = N, n_labels: int = 3, n_batches: int = 2, seed: int = 0) -> tuple[np.ndarray, Annotation]:
    rng = np.random.default_rng(seed)
    labels, batches = rng.integers(n_labels, size=n), rng.integers(n_batches, size=n)
    points = rng.normal(size=(n, 5)) + 2 * rng.normal(size=(n_labels, 5))[labels]
    return points.astype(np.float32), Annotation(batches, labels, rng.random(n) < 0.4)


def scored(points: np.ndarray, annotation: Annotation, reference: np.ndarray | None = None, **settings) -> list[Row]:
    finite = np.isfinite(points).all(axis=1)
    neighbors = find_neighbors(np.where(finite[:, None], points, 0), 90)
    return score_embedding(points, annotation, neighbors, reference, Evaluate(**{"bootstrap": 0, **settings})).rows


def of(rows: list[Row], cells: str) -> dict[str, Score]:
    return {row.score.metric: row.score for row in rows if row.cells == cells}


def test_plain_data_have_all_scores_on_both_sets_of_cells() -> None:
    points, annotation = data()
    rows = scored(points, annotation, reference=points)
    not_ok = {(r.cells, r.score.metric, r.score.reason) for r in rows if r.score.status != "ok"}
    everywhere = "every label is in all 2 batches"
    isolated = ("isolated_labels_silhouette", "isolated_labels_f1")
    undescribed = "no description of the expression was given (--expression)"
    absent = {
        **dict.fromkeys(isolated, everywhere),
        **dict.fromkeys(("cell_cycle", "morans_i", "scgraph"), undescribed),
        "trajectory": "the data set has no pseudotime (dataset key `pseudotime`)",
    }
    no_batch = "every batch has cells that trained the model: the split holds no batch out"
    assert not_ok == {(cells, m, why) for cells in ("all", "held_out") for m, why in absent.items()} | {
        ("held_out", m, no_batch) for m in UNSEEN
    }
    assert all(0 <= r.score.value <= 1 for r in rows if r.score.status == "ok" and not r.score.metric.startswith("ari"))
    assert len({(r.cells, r.task, r.score.metric) for r in rows}) == len(rows)


def test_controls_score_as_they_should() -> None:
    _, annotation = data(n_labels=4)
    assert annotation.labels is not None
    values = {
        name: of(scored(control_embedding(name, annotation.batches, annotation.labels, 0), annotation), "all")
        for name in ("random", "label_onehot", "batch_onehot")
    }
    assert values["label_onehot"]["bio"].value > 0.95 > 0.5 > values["random"]["bio"].value
    assert values["batch_onehot"]["batch"].value < 0.3 < 0.8 < values["label_onehot"]["batch"].value
    assert values["batch_onehot"]["ilisi_knn"].value < 0.01
    assert values["label_onehot"]["lobo_label_accuracy"].value == 1
    held_out = of(scored(control_embedding("batch_onehot", annotation.batches, None, 0), annotation), "held_out")
    assert held_out["batch_accuracy"].value == 1
    assert held_out["label_accuracy"].value < 0.4


def test_scores_are_deterministic() -> None:
    points, annotation = data()
    first, second = scored(points, annotation), scored(points, annotation)
    np.testing.assert_array_equal([r.score.value for r in first], [r.score.value for r in second])


def test_one_batch() -> None:
    points, annotation = data(n_batches=1)
    found = of(scored(points, annotation, reference=points), "all")
    for metric in ("ilisi_knn", "cilisi_knn", "bras", "silhouette_batch", "pcr_comparison", "lobo_label_accuracy"):
        assert found[metric].status == "not_applicable", metric
        assert "are of 1 batch" in found[metric].reason, metric
    assert found["bio"].status == "ok"
    assert found["batch"].implementation == "mean(graph_connectivity_directed) without bras, ilisi_knn, pcr_comparison"


def test_no_label_column() -> None:
    points, annotation = data()
    found = of(scored(points, annotation._replace(labels=None), reference=points), "all")
    assert found["ilisi_knn"].status == found["pcr_comparison"].status == "ok"
    for metric in (*BIO, "bras", "graph_connectivity", "bio", "total"):
        assert found[metric].status == "not_applicable", metric
        assert "the data set has no label column" in found[metric].reason, metric


def test_one_label() -> None:
    points, annotation = data(n_labels=1)
    found = of(scored(points, annotation), "all")
    assert found["silhouette_label"].reason == f"the {N} cells are of 1 label"
    assert found["ilisi_knn"].status == "ok"


def test_label_in_one_batch_only_is_isolated() -> None:
    points, annotation = data()
    assert annotation.labels is not None
    batches = np.where(annotation.labels == 1, 0, annotation.batches)
    found = of(scored(points, annotation._replace(batches=batches)), "all")
    assert found["isolated_labels_f1"].value > 0.8
    assert found["isolated_labels_silhouette"].status == found["bras"].status == "ok"


def test_cells_without_label_or_batch_are_left_out() -> None:
    points, annotation = data()
    assert annotation.labels is not None
    keep = np.arange(N) % 10 > 0
    labels, batches = annotation.labels.copy(), annotation.batches.copy()
    labels[~keep & (np.arange(N) % 20 == 0)] = -1
    batches[~keep & (np.arange(N) % 20 == 10)] = -1
    marked = scored(points, Annotation(batches, labels, annotation.held_out))
    cut = scored(points[keep], Annotation(batches[keep], labels[keep], annotation.held_out[keep]))
    assert [r.score.metric for r in marked] == [r.score.metric for r in cut]
    np.testing.assert_array_equal([r.score.value for r in marked], [r.score.value for r in cut])


def test_fewer_cells_than_neighbours() -> None:
    points, annotation = data(n=80)
    found = of(scored(points, annotation), "all")
    assert found["ilisi_knn"].status == found["clisi_knn"].status == "not_applicable"
    assert found["ilisi_knn"].reason == "80 cells are too few for 79 neighbours of each"
    assert found["nmi_leiden"].status == found["cilisi_knn"].status == "ok"


def test_a_handful_of_cells_crashes_nothing() -> None:
    for n in range(1, 8):
        points, annotation = data(n=n)
        rows = scored(points, annotation, reference=points)
        assert {r.score.status for r in rows} <= {"ok", "not_applicable"}, [
            r for r in rows if r.score.status == "failed"
        ]


def test_no_held_out_cells() -> None:
    points, annotation = data()
    rows = scored(points, annotation._replace(held_out=np.zeros(N, bool)))
    assert {s.status for s in of(rows, "held_out").values()} == {"not_applicable"}
    assert "there are no such cells" in of(rows, "held_out")["ilisi_knn"].reason
    assert of(rows, "held_out")["label_accuracy"].reason == "there are no cells to score"
    assert of(rows, "all")["bio"].status == "ok"


def test_nan_in_an_embedding_fails_the_sets_that_hold_it() -> None:
    points, annotation = data()
    points[np.flatnonzero(~annotation.held_out)[:3], 1] = np.nan
    rows = scored(points, annotation)
    everything = of(rows, "all")
    reason = f"3 of {N} cells have NaN or infinite values in their embedding"
    assert {s.status for s in everything.values()} == {"failed"}
    assert everything["ilisi_knn"].reason == everything["lobo_label_accuracy"].reason == reason
    assert reason in everything["total"].reason
    assert of(rows, "held_out")["bio"].status == "ok"
    assert of(rows, "held_out")["label_accuracy"].status == "failed"


def test_constant_embedding_fails() -> None:
    _, annotation = data()
    found = of(scored(np.ones((N, 4), np.float32), annotation), "all")
    assert {s.status for s in found.values()} == {"failed"}
    assert found["nmi_kmeans"].reason == f"all {N} cells have the same embedding"
    assert problem_of(np.zeros((1, 3))) == ""


def test_a_failing_metric_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken(*_) -> float:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sclamp.evaluate.within_labels.bras_mixing", broken)
    found = of(scored(*data()), "all")
    assert (found["bras"].status, found["bras"].reason) == ("failed", "ZeroDivisionError: by zero")
    assert found["silhouette_batch"].status == found["bio"].status == "ok"
    assert (found["batch"].status, found["total"].status) == ("failed", "failed")
    assert found["total"].reason == "bras: ZeroDivisionError: by zero"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_subsampled_silhouettes_are_close_to_exact_ones() -> None:
    points, annotation = data(n=2000)
    exact, drawn = of(scored(points, annotation), "all"), of(scored(points, annotation, exact_cells=500), "all")
    for metric in ("silhouette_label", "silhouette_batch"):
        assert drawn[metric].value == pytest.approx(exact[metric].value, abs=0.02)
        assert drawn[metric].value != exact[metric].value
    assert drawn["bras"].value == exact["bras"].value


def test_stratified_sample_keeps_shares() -> None:
    groups = np.repeat([0, 1, 2], [900, 90, 10])
    rows = stratified_sample(groups, 100, seed=0)
    assert len(set(rows)) == 100
    np.testing.assert_array_equal(np.bincount(groups[rows]), [90, 9, 1])
    np.testing.assert_array_equal(rows, stratified_sample(groups, 100, seed=0))
    assert (rows != stratified_sample(groups, 100, seed=1)).any()
    np.testing.assert_array_equal(stratified_sample(groups, 1000, 0), np.arange(1000))


# --- aggregate ------------------------------------------------------------------------------------------------------


def made(values: dict[str, float | str]) -> list[Measured]:
    return [
        Measured(Score(m, "", v), Statistic(lambda w, v=v: v + w.sum() - 2, 2))
        if isinstance(v, float)
        else Measured(Score(m, "", float("nan"), v, "why"), None)  # type: ignore[arg-type]
        for m, v in values.items()
    ]


def test_total_is_six_tenths_bio_and_four_tenths_batch() -> None:
    values: dict[str, float | str] = {m: 0.1 * i for i, m in enumerate((*BIO, *BATCH))}
    bio, batch, total = (found.score for found in aggregate(made({**values, "nmi_leiden": 99.0})))
    assert bio.value == pytest.approx(0.2)
    assert batch.value == pytest.approx(0.65)
    assert total.value == pytest.approx(0.6 * 0.2 + 0.4 * 0.65)
    assert total.implementation == f"0.6 x mean({', '.join(BIO)}) + 0.4 x mean({', '.join(BATCH)})"


def test_aggregate_of_a_class_without_scores_is_not_applicable() -> None:
    values: dict[str, float | str] = {**dict.fromkeys(BIO, 0.5), **dict.fromkeys(BATCH, "not_applicable")}
    bio, batch, total = (found.score for found in aggregate(made(values)))
    assert bio.value == 0.5
    assert (batch.status, batch.reason) == ("not_applicable", "none of its scores applies: why")
    assert (total.status, total.reason) == ("not_applicable", "batch: none of its scores applies: why")
