"""Scores of cells of batches that no training cell is of."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.integration import score_embedding
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.queries import nearest_among
from sclamp.evaluate.unseen import find_unseen, vote
from sclamp.types import Score

N = 450
METRICS = ("unseen_label_accuracy", "unseen_label_macro_f1", "unseen_knn_accuracy", "unseen_mixing")


def scored(
    shift: float = 0.0, flipped: bool = False, **changes: object
) -> tuple[dict[str, Score], dict[str, np.ndarray]]:
    """Three labels, three batches; batch 2 is held out whole, and shifted or with its labels' places exchanged."""
    rng = np.random.default_rng(0)
    labels, batches = rng.integers(3, size=N), rng.integers(3, size=N)
    centres = 8 * np.eye(3, 5)
    of_label = np.where(flipped & (batches == 2), (labels + 1) % 3, labels)
    points = rng.normal(size=(N, 5)) + centres[of_label] + shift * (batches == 2)[:, None]
    held_out = (batches == 2) | (rng.random(N) < 0.2)
    annotation = Annotation(batches, labels, held_out)._replace(**changes)  # type: ignore[arg-type]
    found = score_embedding(points, annotation, find_neighbors(points, 90), None, Evaluate(bootstrap=30))
    rows = {r.score.metric: r.score for r in found.rows if r.task == "unseen_batch"}
    assert tuple(rows) == METRICS
    assert {r.cells for r in found.rows if r.task == "unseen_batch"} == {"held_out"}
    return rows, {key[2]: values for key, values in found.replicates.items() if key[1] == "unseen_batch"}


def test_a_batch_that_falls_into_place() -> None:
    found, replicates = scored()
    for metric in METRICS[:3]:
        assert found[metric].value == pytest.approx(1, abs=0.01)
    assert found["unseen_mixing"].value == pytest.approx(1, abs=0.1)
    assert set(replicates) == set(METRICS)
    assert replicates["unseen_mixing"].std() > 0


def test_a_batch_apart_is_not_mixed_and_exchanged_labels_are_errors() -> None:
    found, _ = scored(shift=100)
    assert found["unseen_mixing"].value < 0.05
    found, _ = scored(flipped=True)
    for metric in METRICS[:3]:
        assert found[metric].value < 0.05
    assert found["unseen_mixing"].value == pytest.approx(1, abs=0.15)


def test_without_a_batch_held_out_there_is_a_reason() -> None:
    found, replicates = scored(held_out=np.arange(N) % 4 == 0)
    assert {s.status for s in found.values()} == {"not_applicable"}
    assert found["unseen_mixing"].reason == (
        "every batch has cells that trained the model: the split holds no batch out"
    )
    assert replicates == {}


@pytest.mark.parametrize(
    ("train", "reason"), [(np.zeros(4, bool), "no cell trained the model"), (np.ones(4, bool), "no cells to score")]
)
def test_nothing_to_compare(train: np.ndarray, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        find_unseen(np.array([0, 0, 1, 1]), train)


def test_one_batch_and_no_labels() -> None:
    found, _ = scored(batches=np.zeros(N, int))
    assert {s.reason for s in found.values()} == {f"the {N} cells are of 1 batch"}
    found, _ = scored(labels=None)
    assert found["unseen_mixing"].status == "ok"
    assert {found[m].reason for m in METRICS[:3]} == {"the data set has no label column"}


def test_cells_of_unseen_batches_without_a_batch_or_label_do_not_count() -> None:
    rng = np.random.default_rng(0)
    batches, labels = rng.integers(3, size=N), rng.integers(3, size=N)
    rows = find_unseen(batches, batches < 2)
    np.testing.assert_array_equal(rows.rows, np.flatnonzero(batches == 2))
    np.testing.assert_array_equal(np.flatnonzero(batches == 2)[rows.of_held_out], rows.rows)
    found, _ = scored(labels=np.where(np.arange(N) % 5 == 0, -1, labels))
    assert found["unseen_label_accuracy"].status == "ok"


def test_votes_go_to_the_majority_and_then_to_the_nearer() -> None:
    votes = np.array([[2, 1, 1, 0], [2, 1, 1, 2], [0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 2, 3]])
    np.testing.assert_array_equal(vote(votes), [1, 2, 0, 1, 0])


def test_nearest_of_others_equal_all_pairs() -> None:
    rng = np.random.default_rng(1)
    points, queries = rng.normal(size=(80, 4)) + 1000, rng.normal(size=(20, 4)) + 1000
    distances = np.square(queries[:, None] - points[None]).sum(axis=2)
    np.testing.assert_array_equal(nearest_among(points, queries, 5), np.argsort(distances, axis=1)[:, :5])
