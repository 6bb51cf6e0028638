"""Classifiers: averages over labelled cells, class weights, labels and their terms, what they say, checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifier_cells import batch_of, spec

from sclamp.config.classifiers import LogisticRegressionSettings, SOCAMSettings
from sclamp.core.errors import UserError
from sclamp.models.classifier import LinearClassifier
from sclamp.models.logistic_regression import LogisticRegression
from sclamp.models.socam import SOCAM
from sclamp.ontology.terms import Ontology, Term
from sclamp.train.checkpoint import load_model, save_model, start_from
from sclamp.types import GeneStatistics, Progress

NOW = Progress(0, 1)
VALIDATION = Progress(0, 1, validation=True)
TOY = Ontology(
    {
        "root": Term("root"), "T": Term("T", parents=("root",)), "T4": Term("T4", parents=("T",)),
        "T8": Term("T8", parents=("T",)), "B": Term("B", parents=("root",)), "far": Term("far"),
    },
    "toy",
)  # fmt: skip


def toy_model(labels: Any = ("T", "T4", "T8", "B"), n_cells: int = 10, **settings: Any) -> SOCAM:
    torch.manual_seed(0)
    return SOCAM(SOCAMSettings(**settings), spec(6, labels, n_cells), TOY)


def small(mode: str, **settings: Any) -> LinearClassifier:
    torch.manual_seed(0)
    if mode == "socam":
        return toy_model(**settings)
    return LogisticRegression(LogisticRegressionSettings(**settings), spec(6, ("T", "T4", "T8", "B"), 10))


@pytest.mark.parametrize("mode", ["logistic_regression", "socam"])
def test_an_epoch_is_a_mean_over_labelled_cells_however_they_fall_into_batches(mode: str):
    model = small(mode)
    x = np.random.default_rng(1).normal(size=(10, 6))
    labels = torch.tensor([0, -1, -1, -1, 1, 2, 3, -1, 0, 1])
    model.see_labels(labels, labels[:4])
    whole = model.loss(batch_of(x, labels), NOW)
    parts = [slice(0, 1), slice(1, 4), slice(4, 10)]  # the second without a single label
    losses = [model.loss(batch_of(x[part], labels[part]), NOW) for part in parts]
    known = labels >= 0
    alone = small(mode)
    expected = alone.loss(batch_of(x[known], labels[known]), NOW)
    for name in ("cross_entropy", "accuracy"):
        mean = sum(float(loss[name].detach()) * size for loss, size in zip(losses, (1, 3, 6), strict=True)) / 10
        assert mean == pytest.approx(float(whole[name].detach()), rel=1e-5)
        assert mean == pytest.approx(float(expected[name].detach()), rel=1e-5)
    assert float(losses[1]["cross_entropy"].detach()) == 0
    gradient = torch.autograd.grad(losses[1]["loss"], model.linear.weight)[0]
    sign = model.linear.weight.detach().sign() / (model.settings.prior_scale * 6)  # of the 6 labelled of 10 cells
    assert gradient.numpy() == pytest.approx(sign.numpy(), rel=1e-5)
    one_of_four = model.loss(batch_of(x[:4], labels[:4]), VALIDATION)["cross_entropy"]
    assert float(one_of_four.detach()) == pytest.approx(float(losses[0]["cross_entropy"].detach()) * 0.6, rel=1e-5)


def test_balanced_weights_of_classes():
    model = small("logistic_regression", class_weights="balanced")
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] + [-1] * 5)
    model.see_labels(labels, labels)
    assert model.output_weight[:3].numpy() == pytest.approx(np.array([10 / 3 / 6, 10 / 3 / 3, 10 / 3]), rel=1e-6)
    assert float(model.output_weight[labels[:10]].mean()) == pytest.approx(1)
    plain = small("logistic_regression")
    plain.see_labels(labels, labels)
    assert plain.output_weight.unique().tolist() == [1]
    x = torch.zeros(15, 6)
    with torch.no_grad():  # equal logits: every class says the same, and weights of mean 1 change nothing
        losses = [float(each.loss(batch_of(x, labels), NOW)["cross_entropy"]) for each in (model, plain)]
    assert losses == pytest.approx([math.log(4)] * 2, rel=1e-5)


def test_balanced_weights_of_terms_count_the_cells_below():
    model = toy_model(class_weights="balanced")
    labels = torch.tensor([0] * 2 + [1] * 6 + [2] * 2 + [3] * 2)
    model.see_labels(labels, labels)
    counts = dict(
        zip(model.active.terms, model.counts_of(torch.bincount(model.targets[labels], minlength=5)), strict=True)
    )
    assert {term: int(count) for term, count in counts.items()} == {"B": 2, "T": 10, "T4": 6, "T8": 2, "root": 12}
    weight = dict(zip(model.active.terms, model.output_weight.tolist(), strict=True))
    assert weight["T4"] / weight["T"] == pytest.approx(10 / 6)
    assert weight["B"] == pytest.approx(weight["T8"])
    assert float(model.output_weight[model.targets[labels]].mean()) == pytest.approx(1)


def test_labels_that_cannot_teach_are_refused():
    model, none, one = small("logistic_regression"), torch.tensor([-1, -1]), torch.tensor([1, 1, -1])
    with pytest.raises(ValueError, match="none of the 2 training cells has one"):
        model.see_labels(none, one)
    with pytest.raises(ValueError, match="none of the 2 validation cells has one"):
        model.see_labels(torch.tensor([0, 1]), none)
    with pytest.raises(ValueError, match="all 2 labelled training cells are of one class; at least 2 classes"):
        model.see_labels(one, one)
    with pytest.raises(ValueError, match=r"learns the labels of cells, and the dataset has no labels; name the obs"):
        LogisticRegression(LogisticRegressionSettings(), spec(6, (), 10))
    with pytest.raises(ValueError, match="the dataset has only 'B'; name the obs column with two or more cell types"):
        toy_model(("B",))
    with pytest.raises(ValueError, match="embedding_of: the embedding by 'pca' is not among the data"):
        LogisticRegression(LogisticRegressionSettings(embedding_of="pca"), spec(6, "ab", 10))


def test_labels_without_a_term_are_reported_at_once():
    with pytest.raises(ValueError) as error:
        toy_model(("T", "mine", "yours"), label_terms={"yours": "no term"})
    said = str(error.value).splitlines()
    assert said[0].startswith("label_terms: 2 of 3 labels have no term yet; give each its CL id, or null")
    assert said[1].startswith("  label 'mine': no term of Cell Ontology toy has such a name")
    assert said[2].startswith("  label 'yours' (in the table: 'no term'): no term of")
    with pytest.raises(ValueError, match="labels of at least two terms are needed; 'B' is B, 'mine' is B"):
        toy_model(("B", "mine"), label_terms={"mine": "B"})


def test_labels_may_share_a_term_or_have_none():
    model = toy_model(("B", "mine", "T4", "doublet"), label_terms={"mine": "B", "doublet": None})
    assert model.targets.tolist() == [0, 0, 2, -1]
    x = np.random.default_rng(0).normal(size=(4, 6))
    with torch.no_grad():
        found = model.predict(batch_of(x, [0, 1, 2, 3]))
        every, without = (model.loss(batch_of(x, labels), NOW) for labels in ([0, 1, 2, 3], [0, 1, 2, -1]))
    assert torch.equal(found["probability"][:, 0], found["probability"][:, 1])
    assert not found["probability"][:, 3].any()
    assert float(every["cross_entropy"]) == float(without["cross_entropy"]) > 0


def test_a_training_says_what_labels_mean_and_which_overlap():
    """A label above another reads "not known more precisely"; whoever meant otherwise must be able to see it."""
    model = toy_model(("T", "T4", "mine", "B"), label_terms={"mine": "B"})
    assert model.remarks() == [
        "label 'T': T (T); includes 'T4', so that its cells may be predicted as such\n",
        "label 'T4': T4 (T4)\n",
        "label 'mine': B (B); cannot be told from 'B', of the same term\n",
        "label 'B': B (B); cannot be told from 'mine', of the same term\n",
    ]


# --- what socam says --------------------------------------------------------------------------------------------------


def said(model: SOCAM, **logits: float) -> dict[str, Any]:
    """Predictions for one cell with these logits, others very low; classes and terms by name."""
    row = torch.tensor([[logits.get(term, -50.0) for term in model.active.terms]])
    found, names = model.predict_from(row), model.prediction_columns()
    values: dict[str, Any] = {}
    for name, value in found.items():
        flat = value[0].tolist()
        known = names.get(name, model.data.labels)
        if not value.is_floating_point():
            named = [known[i] if i >= 0 else None for i in np.atleast_1d(flat)]
            flat = named if isinstance(flat, list) else named[0]
        values[name] = flat
    return values


def test_the_ancestor_is_the_most_specific_term_that_is_probable_enough():
    model = toy_model(confidence=0.8, top_k=2)
    unsure = said(model, T4=math.log(0.5), T8=math.log(0.4), B=math.log(0.1))
    assert unsure["leaf"] == "T4"
    assert unsure["leaf_probability"] == pytest.approx(0.5)
    assert (unsure["ancestor"], unsure["ancestor_probability"]) == ("T", pytest.approx(0.9))
    assert unsure["top_leaf"] == ["T4", "T8"]
    assert unsure["top_leaf_probability"] == pytest.approx([0.5, 0.4])
    assert dict(zip(model.active.terms, unsure["term_probability"], strict=True)) == {
        "B": pytest.approx(0.1), "T": pytest.approx(0.9), "T4": pytest.approx(0.5), "T8": pytest.approx(0.4),
        "root": pytest.approx(1),
    }  # fmt: skip
    assert said(model, T4=math.log(0.85), B=math.log(0.15))["ancestor"] == "T4"
    assert said(model, T4=math.log(0.6), B=math.log(0.4))["ancestor"] == "root"
    assert model.prediction_columns()["ancestor"] == model.active.terms


def test_without_a_probable_term_there_is_no_ancestor():
    model = toy_model(("B", "far"), confidence=0.8)
    unsure = said(model, B=math.log(0.5), far=math.log(0.5))
    assert (unsure["ancestor"], unsure["ancestor_probability"]) == (None, 0)
    assert said(model, far=0.0)["ancestor"] == "far"


def test_a_label_above_another_is_predicted_for_what_is_its_own():
    model = toy_model(("T", "T4", "B"))
    assert said(model, T=math.log(0.7), T4=math.log(0.2), B=math.log(0.1))["label"] == "T"
    below = said(model, T=math.log(0.2), T4=math.log(0.7), B=math.log(0.1))
    assert below["label"] == "T4"  # though "T" is more probable as a term: it includes T4
    assert below["probability"] == pytest.approx([0.2, 0.7, 0.1])
    inner = toy_model(("T", "B"))
    assert said(inner, T=math.log(0.3), root=math.log(0.5), B=math.log(0.2))["probability"] == pytest.approx([0.6, 0.4])


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_model_of_another_ontology_is_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Terms and hierarchy come from the installed package, so that a newer one must not pass for the old."""
    statistics = GeneStatistics(torch.zeros(6), torch.ones(6))
    monkeypatch.setattr("sclamp.models.socam.cell_ontology", lambda: TOY)
    save_model(tmp_path / "model.pt", toy_model(), statistics, {})
    x = batch_of(np.ones((1, 6)), [0])
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model.pt").model.embed_cells(x), toy_model().embed_cells(x))
    moved = {**TOY.terms, "T8": Term("T8", parents=("B",))}
    monkeypatch.setattr("sclamp.models.socam.cell_ontology", lambda: Ontology(moved, "newer"))
    with pytest.raises(UserError, match="its terms or their hierarchy are not those of the installed Cell Ontology"):
        load_model(tmp_path / "model.pt")
    more = {**TOY.terms, "unrelated": Term("unrelated", parents=("B",))}
    monkeypatch.setattr("sclamp.models.socam.cell_ontology", lambda: Ontology(more, "newer"))
    assert load_model(tmp_path / "model.pt").model.active.terms == ("B", "T", "T4", "T8", "root")
    same, other = toy_model(), toy_model(("T4", "B"))
    assert "linear.weight" in start_from(same, tmp_path / "model.pt")
    with pytest.raises(UserError, match="cannot start from it: it does not distinguish the same terms"):
        start_from(other, tmp_path / "model.pt")
