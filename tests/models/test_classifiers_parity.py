"""Logistic regression and SOCAM against the published code's numbers, and in the extremes of float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifier_cells import batch_of, spec
from torch import Tensor

from sclamp.config.classifiers import LogisticRegressionSettings, SOCAMSettings
from sclamp.models.classifier import LinearClassifier
from sclamp.models.logistic_regression import LogisticRegression
from sclamp.models.socam import SOCAM, log_sum_below
from sclamp.ontology.terms import Ontology, Term
from sclamp.types import Progress

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cellarium"
NOW = Progress(0, 1)


def golden(name: str) -> dict[str, np.ndarray]:
    """Inputs and results of Cellarium ML 0.0.15, with the sums of the seed version where they differ."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


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
