"""Awkward data for the scores beyond the standard panel: a status with a reason instead of a crash."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate import graph_lisi
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.expression import Expression
from sclamp.evaluate.integration import Evaluation, score_embedding
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.panel import METRICS
from sclamp.evaluate.scgraph import Consensus
from sclamp.plot import metrics as shown
from sclamp.types import Score

N = 240
NEW = ("kbet", "ilisi_graph", "clisi_graph", "cell_cycle", "trajectory", "morans_i", "scgraph")


def inputs(n: int = N, n_labels: int = 4, n_batches: int = 2) -> tuple[np.ndarray, Annotation, Expression]:
    """Everything that any score asks for, of cells with a trajectory through overlapping labels."""
    rng = np.random.default_rng(1)
    time, batches = rng.random(n), rng.integers(n_batches, size=n)
    labels = (time * n_labels).astype(int)
    points = np.column_stack([6 * time, np.sin(3 * time), *rng.normal(size=(3, n)) / 3]).astype(np.float32)
    names = tuple("ABCDEFGH"[:n_labels]), tuple("xyzw"[:n_batches])
    expression = Expression(
        cycle=rng.normal(size=(n, 2)) + points[:, 2:4],
        share_before={scope: dict.fromkeys(names[1], 0.05) for scope in ("all", "held_out")},
        genes=np.column_stack([time, rng.random(n), np.ones(n)]).astype(np.float32),
        consensus=Consensus(names[0], np.abs(np.subtract.outer(np.arange(n_labels), np.arange(n_labels))) / 3.0),
    )
    return points, Annotation(batches, labels, rng.random(n) < 0.4, names[1], names[0], time), expression


def evaluated(points: np.ndarray, annotation: Annotation, expression: Expression | None, k: int = 90) -> Evaluation:
    finite = np.isfinite(points).all(axis=1)
    neighbors = find_neighbors(np.where(finite[:, None], points, 0), k)
    return score_embedding(points, annotation, neighbors, points, Evaluate(bootstrap=3, neighbors=k), expression)


def on_all(found: Evaluation) -> dict[str, Score]:
    return {row.score.metric: row.score for row in found.rows if row.cells == "all"}


def test_all_new_scores_apply_to_plain_data() -> None:
    found = evaluated(*inputs())
    scores = on_all(found)
    for metric in NEW:
        assert (scores[metric].status, scores[metric].reason) == ("ok", ""), metric
        assert 0 <= scores[metric].value <= 1
    assert scores["trajectory"].value > 0.95
    assert scores["scgraph"].value > 0.9
    assert {m for c, _, m in found.replicates if c == "all"} & set(NEW) == set(NEW) - {"scgraph"}


def test_one_batch() -> None:
    scores = on_all(evaluated(*inputs(n_batches=1)))
    for metric in ("kbet", "ilisi_graph"):
        assert (scores[metric].status, scores[metric].reason) == ("not_applicable", f"the {N} cells are of 1 batch")
    for metric in ("clisi_graph", "cell_cycle", "trajectory", "morans_i", "scgraph"):
        assert scores[metric].status == "ok", metric


def test_one_label() -> None:
    scores = on_all(evaluated(*inputs(n_labels=1)))
    for metric in ("kbet", "clisi_graph", "trajectory", "scgraph"):
        assert (scores[metric].status, scores[metric].reason) == ("not_applicable", f"the {N} cells are of 1 label")
    for metric in ("ilisi_graph", "cell_cycle", "morans_i"):
        assert scores[metric].status == "ok", metric


def test_a_label_in_one_batch_only() -> None:
    points, annotation, expression = inputs()
    batches = np.where(annotation.labels == 2, 0, annotation.batches)
    found = evaluated(points, annotation._replace(batches=batches), expression)
    assert {on_all(found)[metric].status for metric in NEW} == {"ok"}
    np.testing.assert_array_equal(np.isnan(found.per_cell["kbet"]), annotation.labels == 2)
    batches = annotation.labels % 2  # every label is in one batch
    found = on_all(evaluated(points, annotation._replace(batches=batches), expression))
    assert found["kbet"].reason == "no label has two batches and 10 cells"
    assert found["bras"].status == "not_applicable"


def test_fewer_cells_than_neighbours() -> None:
    scores = on_all(evaluated(*inputs(n=60)))
    for metric in ("ilisi_graph", "clisi_graph"):
        assert scores[metric].reason == "60 cells are too few for 90 neighbours of each"
    assert scores["kbet"].status == "ok"
    assert on_all(evaluated(*inputs(n=40)))["kbet"].reason == "40 cells are too few for 49 neighbours of each"


@pytest.mark.parametrize("n", range(1, 24, 2))
def test_a_handful_of_cells_fails_nothing(n: int) -> None:
    statuses = {(r.score.metric, r.score.status, r.score.reason) for r in evaluated(*inputs(n=n)).rows}
    assert {s for s in statuses if s[1] == "failed"} == set()


def test_too_few_known_neighbours_name_the_setting() -> None:
    scores = on_all(evaluated(*inputs(), k=10))
    for metric in ("graph_connectivity", "nmi_leiden", "ilisi_graph", "trajectory", "morans_i"):
        reason = "14 neighbours of each cell are needed, 10 are known (evaluate.neighbors)"
        assert (scores[metric].status, scores[metric].reason) == ("not_applicable", reason), metric
    assert scores["kbet"].reason == "49 neighbours of each cell are needed, 10 are known (evaluate.neighbors)"
    assert scores["ilisi_knn"].status == "ok"


def test_nan_and_constant_embeddings_fail() -> None:
    points, annotation, expression = inputs()
    broken = points.copy()
    broken[3, 1] = np.nan
    found = evaluated(broken, annotation, expression)
    reason = f"1 of {N} cells have NaN or infinite values in their embedding"
    assert {(on_all(found)[m].status, on_all(found)[m].reason) for m in NEW} == {("failed", reason)}
    assert all(np.isnan(values).all() for values in found.per_cell.values())
    assert not any(cells == "all" for cells, *_ in found.replicates)
    unseen = {r.score.reason for r in found.rows if r.task == "unseen_batch"}
    assert unseen == {reason}
    found = evaluated(np.ones_like(points), annotation, expression)
    assert {on_all(found)[m].reason for m in NEW} == {f"all {N} cells have the same embedding"}


def test_an_unforeseen_error_reaches_one_row_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(*_: object) -> np.ndarray:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sclamp.evaluate.kbet.accepted", broken)
    found = evaluated(*inputs())
    assert (on_all(found)["kbet"].status, on_all(found)["kbet"].reason) == ("failed", "ZeroDivisionError: by zero")
    assert on_all(found)["total"].status == "ok"
    assert np.isnan(found.per_cell["kbet"]).all() and np.isfinite(found.per_cell["lisi_batch"]).all()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_missing_labels_have_no_scores_of_single_cells() -> None:
    points, annotation, expression = inputs()
    missing = np.arange(N) % 6 == 0
    found = evaluated(points, annotation._replace(labels=np.where(missing, -1, annotation.labels)), expression)
    assert {on_all(found)[m].status for m in NEW} == {"ok"}
    assert set(found.per_cell) == {"lisi_batch", "lisi_label", "cilisi", "silhouette_label", "kbet"}
    for values in found.per_cell.values():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(values), missing)
    found = evaluated(points, annotation._replace(labels=None), expression)
    assert on_all(found)["kbet"].reason == "the data set has no label column"
    assert np.isfinite(found.per_cell["lisi_batch"]).all()
    assert np.isnan(found.per_cell["kbet"]).all()


def test_what_is_absent_is_named() -> None:
    points, annotation, expression = inputs()
    scores = on_all(evaluated(points, annotation._replace(pseudotime=None), None))
    for metric in ("cell_cycle", "morans_i", "scgraph"):
        assert scores[metric].reason == "no description of the expression was given (--expression)"
    assert scores["trajectory"].reason == "the data set has no pseudotime (dataset key `pseudotime`)"
    bare = Expression(reasons={"cell_cycle": "2 genes"})
    scores = on_all(evaluated(points, annotation, bare))
    assert scores["cell_cycle"].reason == "2 genes"
    assert scores["morans_i"].reason == "the description of the expression has no variable genes"
    assert scores["scgraph"].reason == "the description of the expression has no distances between labels"
    scores = on_all(evaluated(points, annotation, Expression(share_before=expression.share_before)))
    assert scores["cell_cycle"].reason == "the description of the expression has no cell-cycle scores"
    nothing = {"all": {"x": 0.0}, "held_out": {}}
    scores = on_all(evaluated(points, annotation, Expression(cycle=expression.cycle, share_before=nothing)))
    assert scores["cell_cycle"].reason == "in no batch do cell-cycle scores explain any variance of the expression"


@pytest.mark.parametrize(
    ("pseudotime", "reason"),
    [
        (np.full(N, np.nan), "0 cells have a pseudotime; 20 are needed"),
        (np.where(np.arange(N) < 19, 0.5, np.nan), "19 cells have a pseudotime; 20 are needed"),
        (np.full(N, 0.25), f"the pseudotime of all {N} cells is 0.25"),
    ],
)
def test_unusable_pseudotimes(pseudotime: np.ndarray, reason: str) -> None:
    points, annotation, _ = inputs()
    scores = on_all(evaluated(points, annotation._replace(pseudotime=pseudotime), None))
    assert (scores["trajectory"].status, scores["trajectory"].reason) == ("not_applicable", reason)


def test_few_labels_in_the_consensus() -> None:
    points, annotation, _ = inputs()
    agreed = Consensus(("A", "Z"), np.array([[0, 1.0], [1, 0]]))
    scores = on_all(evaluated(points, annotation, Expression(consensus=agreed)))
    assert scores["scgraph"].reason == (
        "1 labels have 10 of the cells and a place in the batches of 100 cells; 3 are needed"
    )
    unknown = Consensus(("A", "B", "C"), np.full((3, 3), np.nan))
    scores = on_all(evaluated(points, annotation, Expression(consensus=unknown)))
    assert scores["scgraph"].reason == "no label shares batches with two others"


def test_graph_lisi_of_a_sample_is_close_to_that_of_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    points, annotation, expression = inputs(n=900)
    whole = on_all(evaluated(points, annotation, expression))
    monkeypatch.setattr(graph_lisi, "MOST_CELLS", 300)
    drawn = on_all(evaluated(points, annotation, expression))
    for metric in ("ilisi_graph", "clisi_graph"):
        assert drawn[metric].value == pytest.approx(whole[metric].value, abs=0.05)
    assert drawn["ilisi_graph"].value != whole["ilisi_graph"].value


# --- in step with the report ----------------------------------------------------------------------------------------


def test_every_score_is_described_for_the_report() -> None:
    names = {row.score.metric for row in evaluated(*inputs()).rows}
    assert {metric.name for metric in METRICS} <= names
    assert names - set(shown.METRICS) == set()
