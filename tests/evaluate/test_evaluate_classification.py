"""Scores of predicted labels, against scikit-learn and by hand; from the command line."""

from __future__ import annotations

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate.calibrate import direction
from sclamp.evaluate.classification import BINS, METRICS, area_under_roc, remarks, score_classification
from sclamp.evaluate.lineage import Lineage
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.predictions import Predictions, Scored, Truth, cells_to_score
from sclamp.evaluate.resample import resamples
from sclamp.ontology.terms import ROOT, Ontology, Term
from sclamp.plot import metrics as shown

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "score_classification.py"
NAMES = ("B cell", "T cell", "monocyte", "natural killer cell")
FEW = Evaluate(bootstrap=8)


def predictions(truth: np.ndarray, seed: int = 0, sharp: float = 2.0) -> Predictions:
    """Probabilities of NAMES that lean towards the truth, some of them tied."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(truth), len(NAMES))).round(1)
    for code, name in enumerate(NAMES):
        logits[:, code] += sharp * (truth == name) * (rng.random(len(truth)) < 0.8)
    odds = np.exp(logits)
    probabilities = (odds / odds.sum(1, keepdims=True)).astype(np.float32).astype(np.float64)
    labels = np.array(NAMES, dtype=object)[probabilities.argmax(1)]
    ids = np.array([f"c{i}" for i in range(len(truth))], dtype=object)
    return Predictions(ids, labels, NAMES, probabilities)


def cells(n: int = 300, seed: int = 0) -> tuple[Truth, Predictions]:
    rng = np.random.default_rng([seed, 1])
    labels = np.array(NAMES, dtype=object)[rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])]
    split = rng.permutation(np.array(["train", "val", "test"], dtype=object)[np.arange(n) % 3])
    ids = np.array([f"c{i}" for i in range(n)], dtype=object)
    return Truth(ids, labels, split, np.ones(n, bool)), predictions(labels, seed)


def values_of(found: Scored | NotApplicable) -> dict[str, float]:
    return {row.score.metric: row.score.value for row in score_classification(found, FEW).rows}


# --- against scikit-learn ---------------------------------------------------------------------------------------------


def test_scores_equal_scikit_learn() -> None:
    sk = pytest.importorskip("sklearn.metrics")
    truth, predicted = cells()
    found = values_of(cells_to_score(predicted, truth))
    test = truth.split == "test"
    y, p, guess = truth.labels[test], predicted.probabilities[test], predicted.labels[test]
    one_hot = y[:, None] == np.array(NAMES, dtype=object)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, guess))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y.astype(str), guess.astype(str), average="macro"))
    areas = [sk.roc_auc_score(one_hot[:, i], p[:, i]) for i in range(4)]
    assert found["auroc"] == pytest.approx(np.mean(areas))
    assert found["log_loss"] == pytest.approx(
        sk.log_loss(y.astype(str), p.astype(np.float32), labels=list(NAMES)), rel=1e-6
    )
    assert found["brier"] == pytest.approx(np.square(p - one_hot).sum(1).mean())
    assert 0.4 < found["accuracy"] < 0.95 and found["unseen_label_share"] == 0


def test_weighted_scores_equal_scikit_learn_on_resampled_cells() -> None:
    """A resample counts cells several times or not at all; what was drawn is as if it were the data."""
    sk = pytest.importorskip("sklearn.metrics")
    truth, predicted = cells()
    found = score_classification(cells_to_score(predicted, truth), FEW)
    held_out = np.flatnonzero(np.isin(truth.split, ("val", "test")))
    for number, weights in enumerate(resamples(len(held_out), FEW.bootstrap, FEW.seed, "held_out")):
        rows = np.repeat(held_out, weights.astype(int))
        rows = rows[truth.split[rows] == "test"]
        y, p, guess = truth.labels[rows], predicted.probabilities[rows], predicted.labels[rows]
        expected = {
            "accuracy": (y == guess).mean(),
            "macro_f1": sk.f1_score(y.astype(str), guess.astype(str), average="macro"),
            "auroc": np.mean([sk.roc_auc_score(y == name, p[:, i]) for i, name in enumerate(NAMES) if name in y]),
        }
        for name, value in expected.items():
            assert found.replicates["held_out", "classification", name][number] == pytest.approx(value), name


def test_roc_area_of_ties_is_a_half() -> None:
    area = area_under_roc(np.array([0.2, 0.2, 0.7, 0.2]), np.array([True, False, True, False]))
    assert area(np.ones(4)) == pytest.approx((2 + 0.5 * 2) / 4)  # of 4 pairs 2 right, 2 tied
    assert area(np.array([1.0, 0, 0, 2])) == pytest.approx(0.5)
    assert math.isnan(area(np.array([1.0, 0, 1, 0])))


# --- by hand ----------------------------------------------------------------------------------------------------------


def scored(truth: list[str], guess: list[str | None], confidence: list[float] | None = None, **more: Any) -> Scored:
    """Test cells; where confidences are given, the rest of the probability goes to the other names in equal parts."""
    names = tuple(sorted({*truth, *(g for g in guess if g)}))
    n, k = len(truth), len(names)
    probabilities = np.zeros((n, k))
    for row, sure in enumerate(confidence or []):
        probabilities[row] = (1 - sure) / (k - 1)
        probabilities[row, names.index(guess[row])] = sure
    known = np.full(k, confidence is not None)
    codes = [np.array([names.index(x) if x else -1 for x in side]) for side in (truth, guess)]
    return Scored(names, *codes, probabilities, known, np.ones(k, bool), np.arange(n), n, "test", **more)


def test_calibration_error_by_hand() -> None:
    """Two bins: at .55 half are right, gap .05; at .95 all are right, gap .05; at 1 one is wrong."""
    found = scored(list("aabbaab"), list("abbaaba"), [0.55, 0.55, 0.95, 0.55, 0.95, 0.55, 1.0])
    # bin of .55: 1 of 4 right, sum of gaps 1 - 2.2 = -1.2; last bin (.933, 1]: 2 of 3 right, 2 - 2.9 = -.9
    assert BINS == 15
    assert values_of(found)["calibration_error"] == pytest.approx((1.2 + 0.9) / 7)


def test_a_perfect_prediction() -> None:
    found = values_of(scored(list("abab"), list("abab"), [1.0] * 4))
    assert {found[name] for name in ("accuracy", "macro_f1", "auroc")} == {1.0}
    assert {found[name] for name in ("calibration_error", "brier", "log_loss")} == {0.0}
    assert math.isnan(found["error_distance"])


TOY = Ontology(
    {
        ROOT: Term("cell"),
        "CL:0000001": Term("blood", parents=(ROOT,)),
        "CL:0000002": Term("lymphoid", parents=("CL:0000001",)),
        "CL:0000003": Term("t", parents=("CL:0000002",)),
        "CL:0000004": Term("b", parents=("CL:0000002",)),
        "CL:0000005": Term("myeloid", parents=("CL:0000001",)),
        "CL:0000006": Term("nerve", parents=(ROOT,)),
    },
    "toy",
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy ontology in place of the Cell Ontology."""
    monkeypatch.setattr("sclamp.evaluate.lineage.cell_ontology", lambda: TOY)


@pytest.mark.usefixtures("toy")
def test_hierarchical_f1_and_distance_by_hand() -> None:
    """Sets without the root: t = {t, lymphoid, blood}, b alike, myeloid = {myeloid, blood}, nerve = {nerve}."""
    found = values_of(scored(["t", "t", "t", "nerve"], ["t", "b", "myeloid", "b"]))
    shared, of_truth, of_guess = 3 + 2 + 1 + 0, 3 + 3 + 3 + 1, 3 + 3 + 2 + 3
    precision, recall = shared / of_guess, shared / of_truth
    assert found["hierarchical_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["error_distance"] == pytest.approx((2 + 3 + 4) / 3)


@pytest.mark.usefixtures("toy")
def test_labels_without_a_term() -> None:
    """A true label without a term is left out; a predicted one is a kind of itself alone; none is a kind of nothing."""
    odd = scored(["t", "t", "odd", "t"], ["t", "odd", "t", None])
    found = values_of(odd)
    assert found["hierarchical_f1"] == pytest.approx(2 * 3 / ((3 + 3) + (3 + 1) + (3 + 0)))
    rows = {row.score.metric: row.score for row in score_classification(odd, FEW).rows}
    assert rows["error_distance"].status == "not_applicable"
    assert (
        "no error is between labels connected in the Cell Ontology: label 'odd': no term"
        in rows["error_distance"].reason
    )
    assert found["accuracy"] == 0.25
    assert any("label 'odd'" in note for note in remarks(odd))
    rows = {row.score.metric: row.score for row in score_classification(scored(["odd", "x"], ["x", "x"]), FEW).rows}
    assert "no true label has a term in the Cell Ontology: label 'odd'" in rows["hierarchical_f1"].reason


@pytest.mark.usefixtures("toy")
def test_a_table_of_terms_names_what_the_ontology_does_not_know() -> None:
    found = values_of(scored(["odd", "odd", "b"], ["odd", "b", "odd"], terms={"odd": "CL:0000003", "b": None}))
    assert found["hierarchical_f1"] == pytest.approx(2 * 3 / ((3 + 3) + (3 + 1)))  # the cell of b is left out
    lineage = Lineage(["odd", "b"], {"odd": "CL:0000003", "b": None})
    assert lineage.terms == ["CL:0000003", None] and lineage.notes == []


@pytest.mark.usefixtures("toy")
def test_top_labels_and_ancestors_by_hand() -> None:
    more = {
        "top": np.array([["t", "b"], ["b", "myeloid"], ["t", "b"]], dtype=object),
        "ancestors": np.array(["CL:0000001", "CL:0000002", "CL:0000005"], dtype=object),
    }
    found = values_of(scored(["t", "t", "b"], ["t", "b", "t"], **more))
    assert found["top_accuracy"] == pytest.approx(2 / 3)
    assert found["ancestor_accuracy"] == pytest.approx(2 / 3)
    assert found["ancestor_distance"] == pytest.approx((2 + 1) / 2)


@pytest.mark.parametrize(("code", "ancestor", "steps"), [(0, "CL:0000003", 0), (0, ROOT, 3), (0, "CL:0000006", None)])
@pytest.mark.usefixtures("toy")
def test_steps_up(code: int, ancestor: str, steps: int | None) -> None:
    assert Lineage(["t", "odd"]).steps_up(code, ancestor) == pytest.approx(
        math.nan if steps is None else steps, nan_ok=True
    )
    assert math.isnan(Lineage(["t", "odd"]).steps_up(1, ancestor))


# --- which cells, which labels ----------------------------------------------------------------------------------------


def test_labels_that_training_never_saw_count_as_errors_and_are_reported() -> None:
    truth, predicted = cells()
    new = truth.labels.copy()
    new[(truth.labels == "B cell") & (truth.split != "train")] = "platelet"
    found = cells_to_score(predicted, truth._replace(labels=new))
    scores, test = values_of(found), truth.split == "test"
    assert scores["unseen_label_share"] == pytest.approx((new[test] == "platelet").mean())
    assert scores["accuracy"] == pytest.approx((new == predicted.labels)[test].mean())
    assert scores["log_loss"] > -math.log(1.2e-7) * scores["unseen_label_share"]
    assert any("no training cell has the label platelet: " in note for note in remarks(found))


@pytest.mark.parametrize(("left", "used"), [(("train", "val", "test"), "test"), (("train", "val"), "val")])
def test_test_cells_are_scored_else_validation_cells(left: tuple[str, ...], used: str) -> None:
    truth, predicted = cells()
    split = np.array([s if s in left else "train" for s in truth.split], dtype=object)
    found = cells_to_score(predicted, truth._replace(split=split))
    assert found.split == used
    assert values_of(found)["accuracy"] == pytest.approx((truth.labels == predicted.labels)[split == used].mean())


def test_cells_without_batch_or_label_do_not_count() -> None:
    truth, predicted = cells()
    labels, complete = truth.labels.copy(), truth.complete.copy()
    labels[:50], complete[:80] = None, False
    found = cells_to_score(predicted, truth._replace(labels=labels, complete=complete))
    assert len(found.truth) == ((truth.split == "test") & complete).sum()
    assert found.n_held_out == ((truth.split != "train") & complete).sum()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t, p: (t, p._replace(labels=None)), "the model predicts no labels"),
        (lambda t, p: (t._replace(labels=None), p), "the data set has no label column"),
        (
            lambda t, p: (t._replace(split=np.full(len(t.split), "train", object)), p),
            "there are no held-out cells with a known label",
        ),
    ],
)
def test_what_cannot_be_scored_has_a_reason(change: Callable[..., Any], reason: str) -> None:
    truth, predicted = change(*cells())
    with pytest.raises(NotApplicable, match=reason) as caught:
        cells_to_score(predicted, truth)
    found = score_classification(caught.value, FEW)
    assert {(row.score.status, row.score.reason) for row in found.rows} == {("not_applicable", reason)}
    assert len(found.rows) == len(METRICS) and not found.replicates


def test_a_model_without_probabilities_has_the_other_scores() -> None:
    truth, predicted = cells()
    bare = predicted._replace(names=(), probabilities=np.zeros((len(predicted.ids), 0)))
    rows = {row.score.metric: row.score for row in score_classification(cells_to_score(bare, truth), FEW).rows}
    without = {"auroc", "calibration_error", "brier", "log_loss"}
    assert {rows[name].reason for name in without} == {"the model gives no probabilities of labels"}
    assert rows["accuracy"].status == rows["hierarchical_f1"].status == "ok"


def test_probabilities_that_do_not_exclude_one_another_have_no_brier_score() -> None:
    truth, predicted = cells()
    double = predicted._replace(probabilities=predicted.probabilities * 1.5)
    rows = {row.score.metric: row.score for row in score_classification(cells_to_score(double, truth), FEW).rows}
    assert "do not sum to 1" in rows["brier"].reason and "do not sum to 1" in rows["log_loss"].reason
    assert rows["auroc"].value == values_of(cells_to_score(predicted, truth))["auroc"]


def test_every_score_is_shown_with_the_right_direction() -> None:
    for name in METRICS:
        how = shown.describe("classification", name)
        assert how.group == "classification" and how.meaning
        assert how.lower_is_better == (direction(name) < 0)


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the script on a predictions table; returns exit status and what it said."""

    def call(table: dict[str, Any], counts: Path, *more: object) -> tuple[int, str]:
        pq.write_table(pa.table(table), tmp_path / "predictions.parquet")
        arguments = ["--predictions", tmp_path / "predictions.parquet", "--cells", counts, "--dataset", "d", "--model",
                     "m", "--seed", 3, "--output", tmp_path / "s.parquet", *more]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["score_classification.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capfd.readouterr().err

    return call


def test_scores_from_the_command_line(
    run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path
) -> None:
    counts = tiny_counts()
    obs = anndata.read_h5ad(counts).obs
    test = (obs["split"] == "test").to_numpy()
    guess = np.where(np.arange(len(obs)) % 3 == 0, "alpha", obs["label"].astype(str))
    table = {
        "cell_id": list(obs.index), "label": list(guess),
        **{f"probability:{name}": np.where(guess == name, 0.8, 0.1) for name in ("alpha", "beta", "delta")},
    }  # fmt: skip
    terms = '{"alpha": "CL:0000236", "beta": "CL:0000084"}'
    out = tmp_path / "r.parquet"
    options = ("--settings", '{"bootstrap": 5}', "--label-terms", terms, "--replicates", out)
    status, said = run(table, counts, *options)
    assert status == 0, said
    assert "label 'delta': no term of Cell Ontology" in said
    scores = pd.read_parquet(tmp_path / "s.parquet").set_index("metric")
    assert set(scores["cells"]) == {"held_out"} and set(scores["task"]) == {"classification"}
    assert list(scores.index) == list(METRICS)
    right = (guess == obs["label"].astype(str)).to_numpy()[test]
    assert scores["value"]["accuracy"] == pytest.approx(right.mean())
    assert scores["value"]["calibration_error"] == pytest.approx(abs(right.mean() - 0.8))
    assert scores["implementation"]["accuracy"] == "share of the cells with the right label; test cells"
    assert scores["implementation"]["hierarchical_f1"].endswith("; test cells, 2 of 3 labels have a term")
    again = pd.read_parquet(out)
    assert set(again["metric"]) == set(scores.index[scores["status"] == "ok"])
    assert {len(values) for values in again["replicates"]} == {5}
    first = (tmp_path / "s.parquet").read_bytes(), out.read_bytes()
    run(table, counts, *options)
    assert ((tmp_path / "s.parquet").read_bytes(), out.read_bytes()) == first


def test_predictions_without_labels_are_no_failure(
    run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path
) -> None:
    counts = tiny_counts()
    status, said = run({"cell_id": list(anndata.read_h5ad(counts).obs_names)}, counts)
    assert status == 0, said
    assert set(pd.read_parquet(tmp_path / "s.parquet")["reason"]) == {"the model predicts no labels"}


def test_other_cells_are_refused(run: Callable[..., Any], tiny_counts: Callable[..., Path]) -> None:
    counts = tiny_counts()
    status, said = run({"cell_id": ["x"], "label": ["alpha"]}, counts)
    assert status == 1 and "has 1 cells" in said and "both must hold the same cells" in said
    status, said = run({"cell": ["x"], "label": ["alpha"]}, counts)
    assert status == 1 and "predictions.parquet: column 'cell_id' does not exist" in said
