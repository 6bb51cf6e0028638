"""Logistic regression and SOCAM against the published code's numbers, closed forms and the known defects."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.config.classifiers import LogisticRegressionSettings, SOCAMSettings
from sclamp.core.errors import UserError
from sclamp.models.classifier import LinearClassifier
from sclamp.models.logistic_regression import LogisticRegression
from sclamp.models.socam import SOCAM, log_sum_below
from sclamp.ontology.terms import Ontology, Term
from sclamp.train.checkpoint import load_model, save_model, start_from
from sclamp.types import Batch, DataSpec, GeneStatistics, Progress

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cellarium"
NOW = Progress(0, 1)
VALIDATION = Progress(0, 1, validation=True)


def golden(name: str) -> dict[str, np.ndarray]:
    """Inputs and results of Cellarium ML 0.0.15, with the sums of the seed version where they differ."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def batch_of(x: Any, labels: Any) -> Batch:
    n, none = len(labels), torch.zeros(len(labels), dtype=torch.int64)
    scaled = torch.as_tensor(x, dtype=torch.float32)
    label = torch.as_tensor(labels, dtype=torch.int64)
    return Batch(none, torch.zeros(n, 0), none, torch.ones(n), scaled=scaled, label=label)


def spec(n_genes: int, labels: Any, n_cells: int) -> DataSpec:
    return DataSpec(tuple(f"G{i}" for i in range(n_genes)), labels=tuple(map(str, labels)), n_cells=int(n_cells))


def with_weights(model: LinearClassifier, weight: np.ndarray, bias: np.ndarray) -> LinearClassifier:
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight.T.copy()))
        model.linear.bias.copy_(torch.from_numpy(bias))
    return model


def gradients(model: LinearClassifier, loss: Tensor) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = torch.autograd.grad(loss, [model.linear.weight, model.linear.bias])
    return weight.T.numpy(), bias.numpy()


def ontology_of(names: np.ndarray, descendants: np.ndarray) -> Ontology:
    """The ontology of a table whose row i marks the descendants of term i, itself among them."""
    above = {str(name): [] for name in names}
    for i, j in np.argwhere(descendants > 0):
        if i != j:
            above[str(names[j])].append(str(names[i]))
    return Ontology({name: Term(name, parents=tuple(parents)) for name, parents in above.items()}, "golden")


# --- logistic regression ----------------------------------------------------------------------------------------------


def test_logistic_regression_equals_the_reference():
    g = golden("logistic_regression")
    n, s = int(g["n_obs"]), float(g["W_prior_scale"])
    settings = LogisticRegressionSettings(prior_scale=s)
    model = with_weights(LogisticRegression(settings, spec(14, "abcd", n)), g["W_gc"], g["b_c"])
    batch = batch_of(g["X"], g["y"])
    parts = model.loss(batch, NOW)
    constant = g["W_gc"].size * math.log(2 * s)
    assert constant == pytest.approx(float(g["constant_term"]), rel=1e-9)
    assert n * float(parts["loss"].detach()) + constant == pytest.approx(float(g["loss_float64"]), rel=1e-6)
    weight, bias = gradients(model, parts["loss"])
    assert n * weight == pytest.approx(g["grad_W"], rel=1e-4, abs=1e-4)
    assert n * bias == pytest.approx(g["grad_b"], rel=1e-4, abs=1e-4)
    assert model.embed_cells(batch).detach().numpy() == pytest.approx(g["logits"], abs=1e-5)


def test_predictions_of_logistic_regression():
    g = golden("logistic_regression")
    settings = LogisticRegressionSettings(top_k=2)
    model = with_weights(LogisticRegression(settings, spec(14, "abcd", 45)), g["W_gc"], g["b_c"])
    with torch.no_grad():
        found = {name: value.numpy() for name, value in model.predict(batch_of(g["X"], g["y"])).items()}
    e = np.exp(g["logits"].astype(np.float64))
    p = e / e.sum(1, keepdims=True)
    order = np.argsort(-p, axis=1)
    assert found["probability"] == pytest.approx(p, abs=1e-6)
    assert found["label"].tolist() == order[:, 0].tolist()
    assert found["label_probability"] == pytest.approx(p.max(1), abs=1e-6)
    assert found["top_label"].tolist() == order[:, :2].tolist()
    assert found["top_probability"] == pytest.approx(np.take_along_axis(p, order[:, :2], 1), abs=1e-6)
    assert model.prediction_columns() == {"probability": ("a", "b", "c", "d")}


# --- socam ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["socam_all", "socam_subset"])
def reference(request: pytest.FixtureRequest) -> tuple[dict[str, np.ndarray], Callable[..., SOCAM]]:
    """Golden numbers, and a factory of the model with their weights; labels are those of the active set."""
    g = golden(request.param)
    order = {name: i for i, name in enumerate(g["active_cl_names"])}  # ours is that of the ids, theirs is given
    ids = {name: f"{order.get(name, 99):02d} {name}" for name in g["cl_names"]}
    for key in ("cl_names", "active_cl_names", "labels"):
        g[key] = np.array([ids[name] for name in g[key]])
    ontology = ontology_of(g["cl_names"], g["descendants"])

    def make(**settings: Any) -> SOCAM:
        data = spec(14, g["active_cl_names"], g["n_obs"])
        model = SOCAM(SOCAMSettings(prior_scale=float(g["W_prior_scale"]), **settings), data, ontology)
        assert model.active.terms == tuple(g["active_cl_names"])
        with_weights(model, g["W_gc"], g["b_c"])
        return model

    return g, make


def labels_of(g: dict[str, np.ndarray]) -> list[int]:
    return [list(g["active_cl_names"]).index(label) for label in g["labels"]]


def test_socam_equals_the_reference(reference):
    g, make = reference
    model, batch = make(loss="reference"), batch_of(g["X"], labels_of(g))
    parts = model.loss(batch, NOW)
    assert float(parts["loss"].detach()) == pytest.approx(float(g["loss"]), rel=1e-6)
    assert float(parts["cross_entropy"].detach()) == pytest.approx(float(g["ce_mean"]), rel=1e-6)
    n = int(g["n_obs"])
    assert n * float(parts["prior"].detach()) == pytest.approx(float(g["laplace"]), rel=1e-6)
    assert n * float(parts["loss"].detach()) == pytest.approx(float(g["loss_sum_convention"]), rel=1e-6)
    weight, bias = gradients(model, parts["loss"])
    assert weight == pytest.approx(g["grad_W"], rel=1e-4, abs=1e-6)
    assert bias == pytest.approx(g["grad_b"], rel=1e-4, abs=1e-6)


def test_socam_probabilities_equal_the_reference(reference):
    g, make = reference
    model, batch = make(), batch_of(g["X"], labels_of(g))
    with torch.no_grad():
        logits = model.logits(batch)
        assert logits.numpy() == pytest.approx(g["logits"], abs=1e-5)
        found = model.log_probabilities(logits).numpy()
        assert found == pytest.approx(g["propagated_log_probs"], abs=1e-5)
        assert model.predict(batch)["term_probability"].numpy() == pytest.approx(g["probs"], abs=1e-6)


def test_socam_without_propagation_equals_the_reference(reference):
    g, make = reference
    model, batch = make(propagate=False), batch_of(g["X"], labels_of(g))
    with torch.no_grad():
        assert float(model.loss(batch, NOW)["loss"]) == pytest.approx(float(g["loss_without_propagation"]), rel=1e-6)
        found = model.predict(batch)["term_probability"].numpy()
    assert found == pytest.approx(g["probs_without_propagation"], abs=1e-6)
    assert found.sum(1) == pytest.approx(1, abs=1e-6)


def test_the_default_loss_is_the_probability_of_the_label_and_not_a_share_of_all_terms(reference):
    """The reference divides by the sum over terms that include one another; that is not the default."""
    g, make = reference
    model, batch = make(), batch_of(g["X"], labels_of(g))
    with torch.no_grad():
        found = float(model.loss(batch, NOW)["cross_entropy"])
    assert found == pytest.approx(float(g["plain_nll_mean"]), rel=1e-6)
    assert found < float(g["ce_mean"]) - 0.5


# --- stability --------------------------------------------------------------------------------------------------------

ABOVE, BELOW = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 2, 1, 2, 2])  # 0 > 1 > 2


def test_sums_over_descendants_are_stable_where_probabilities_vanish():
    """Naive sums of probabilities underflow to log(0); these do not, and neither do their gradients."""
    logits = torch.tensor([[300.0, -300.0, -310.0], [-1e4, 0.0, 1e4]], requires_grad=True)
    found = log_sum_below(logits, ABOVE, BELOW)
    expected = [[300.0, -300 + math.log1p(math.exp(-10)), -310.0], [1e4, 1e4, 1e4]]
    assert found.detach().numpy() == pytest.approx(np.array(expected), rel=1e-6)
    found.sum().backward()
    assert logits.grad is not None
    naive = (logits.detach().softmax(1)[0, 1:].sum()).log()
    assert torch.isinf(naive)
    share = 1 / (1 + math.exp(-10))
    assert logits.grad[0].numpy() == pytest.approx(np.array([1.0, share, 1 + (1 - share)]), abs=1e-5)


def test_sums_over_descendants_equal_float64_and_have_right_gradients():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(0, 3, (5, 3)), requires_grad=True)
    dense = torch.zeros(3, 3, dtype=torch.float64)
    dense[ABOVE, BELOW] = 1
    expected = (logits.exp() @ dense.T).log()
    assert torch.allclose(log_sum_below(logits, ABOVE, BELOW), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x: log_sum_below(x, ABOVE, BELOW), logits)


# --- labels, weights, averages ----------------------------------------------------------------------------------------

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
