"""What classifiers learn: labels of the demo's cells, leaves of an ontology from labels at group level."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from classifier_cells import batch_of, spec

from sclamp.config.classifiers import SOCAMSettings
from sclamp.config.datasets import Dataset
from sclamp.config.gene_selections import GeneSelection
from sclamp.config.registry import settings_class
from sclamp.core.files import write_embedding
from sclamp.data.batches import Batches
from sclamp.data.h5ad import CountMap, read_cells
from sclamp.data.inputs import Inputs, describe, read_cell_embedding, read_inputs
from sclamp.data.prepare import prepare_cells
from sclamp.data.select import select_genes, write_selection
from sclamp.data.sources import open_source
from sclamp.models.socam import SOCAM
from sclamp.ontology.terms import Ontology, Term
from sclamp.train.checkpoint import load_model
from sclamp.train.run import Run, train
from sclamp.types import Progress

CELLS = Path(__file__).resolve().parents[2] / "workflow" / "demo" / "pancreas.h5ad"
TERMS = {
    "alpha": "CL:0000171", "beta": "CL:0000169", "delta": "CL:0000173", "gamma": "CL:0002275", "epsilon": "CL:0005019",
    "ductal": "CL:0002079", "acinar": "CL:0002064", "quiescent_stellate": "CL:0002410",
    "activated_stellate": "CL:0002410",
}  # fmt: skip
SCALED = frozenset({"scaled", "labels"})


class Demo(NamedTuple):
    counts: Path
    inputs: Inputs
    x: np.ndarray


def expression(counts: Path) -> tuple[Inputs, np.ndarray]:
    inputs = read_inputs(counts, describe(counts, {}))
    batches = Batches(inputs, SCALED, torch.device("cpu"))
    return inputs, torch.cat([batch.scaled for batch in batches.batches(None)]).numpy()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The pancreas cells of the demo, 600 genes."""
    folder = tmp_path_factory.mktemp("pancreas")
    dataset = Dataset(path=str(CELLS), label="cell_type", batch="library", quality={"min_genes": 200})
    with open_source(dataset) as source:
        prepare_cells(source, dataset, folder / "cells.h5ad", {})
    cells, counts = read_cells(folder / "cells.h5ad"), CountMap(folder / "cells.h5ad")
    selection = select_genes(counts, cells, GeneSelection(flavor="seurat_v3", n_genes=600))
    write_selection(selection, counts, cells, folder / "genes.parquet", folder / "hvg.h5ad", {})
    return Demo(folder / "hvg.h5ad", *expression(folder / "hvg.h5ad"))


@pytest.fixture
def fitted(demo: Demo, tmp_path: Path) -> Callable[..., Any]:
    """Train on the demo; returns the model, and its predictions for all cells as numpy arrays."""

    def make(mode: str, embedding: Path | None = None, **settings: Any) -> tuple[Any, dict[str, np.ndarray]]:
        chosen = settings_class(mode)(
            mode=mode, device="cpu", max_epochs=60, learning_rate=3e-3, learning_rate_decay=0.97, **settings
        )
        run = Run(chosen, 0, demo.counts, tmp_path / "model.pt", tmp_path / "history.parquet", embedding=embedding)
        train(run)
        model, inputs = load_model(tmp_path / "model.pt").model, demo.inputs
        if embedding:
            points = read_cell_embedding(embedding, inputs.cell_ids)
            inputs = replace(inputs, embedding=points)
        parts: dict[str, list[np.ndarray]] = {}
        with torch.no_grad():
            for batch in Batches(inputs, model.wants(), torch.device("cpu")).batches(None):
                for name, value in model.predict(batch).items():
                    parts.setdefault(name, []).append(value.numpy())
        return model, {name: np.concatenate(values) for name, values in parts.items()}

    return make


def sklearn_accuracy(demo: Demo, x: np.ndarray) -> float:
    """Best of a range of penalties, chosen on the test cells themselves: an upper bound for a linear classifier."""
    from sklearn.linear_model import LogisticRegression

    train_rows, test, y = demo.inputs.rows("train"), demo.inputs.rows("test"), demo.inputs.label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations: convergence is not needed for a bound
        models = [LogisticRegression(C=c, max_iter=100).fit(x[train_rows], y[train_rows]) for c in (0.01, 0.1, 1)]
    return max(float(model.score(x[test], y[test])) for model in models)


def accuracy(demo: Demo, found: dict[str, np.ndarray]) -> float:
    test = demo.inputs.rows("test")
    return float((found["label"][test] == demo.inputs.label[test]).mean())


def test_logistic_regression_is_as_good_as_sklearns(demo: Demo, fitted: Callable[..., Any]):
    model, found = fitted("logistic_regression")
    bound = sklearn_accuracy(demo, demo.x)
    assert bound > 0.96
    assert accuracy(demo, found) > bound - 0.01
    near_zero = float((model.linear.weight.detach().abs() < 1e-2).float().mean())
    assert near_zero > 0.5  # what a Laplace prior is for
    _, narrow = fitted("logistic_regression", prior_scale=1e-3)
    assert accuracy(demo, narrow) < accuracy(demo, found)  # the prior is felt


def test_large_initial_weights_are_not_unlearned(demo: Demo, fitted: Callable[..., Any]):
    """The reference draws weights from N(0, 1): logits of hundreds, which a usual training never gets rid of."""
    _, small = fitted("logistic_regression")
    _, large = fitted("logistic_regression", init_scale=1.0)
    assert accuracy(demo, large) < accuracy(demo, small) - 0.03


def test_a_probe_of_an_embedding_is_as_good_as_sklearns(demo: Demo, fitted: Callable[..., Any], tmp_path: Path):
    """The embedding comes in another order of cells, with columns of very different scale."""
    teach = demo.x[demo.inputs.rows("train")]
    axes = np.linalg.svd(teach - teach.mean(0), full_matrices=False)[2][:20]
    points = demo.x @ axes.T * np.geomspace(1e-3, 1e3, 20) + 7
    order = np.random.default_rng(0).permutation(len(points))
    write_embedding(tmp_path / "pca.parquet", "cell_id", demo.inputs.cell_ids[order], points[order], {})
    model, found = fitted("logistic_regression", embedding=tmp_path / "pca.parquet", embedding_of="pca")
    assert model.linear.weight.shape == (14, 20)
    assert model.gene_axes() == {}
    standardised = (points - points[demo.inputs.rows("train")].mean(0)) / points[demo.inputs.rows("train")].std(0)
    assert accuracy(demo, found) > sklearn_accuracy(demo, standardised) - 0.02


def test_socam_learns_the_demo_and_its_ancestors_hold_what_they_promise(demo: Demo, fitted: Callable[..., Any]):
    model, found = fitted("socam", label_terms=TERMS, confidence=0.8)
    test, targets = demo.inputs.rows("test"), model.targets.numpy()
    truth = targets[demo.inputs.label[test]]
    assert (targets[found["label"][test]] == truth).mean() > 0.95  # two labels share a term
    assert (found["leaf"][test] == truth).mean() > 0.95
    names = model.prediction_columns()["term_probability"]
    assert found["term_probability"][:, names.index("CL:0000000")] == pytest.approx(1, abs=1e-5)
    ancestor = found["ancestor"][test]
    assert (ancestor >= 0).all()
    includes = {(i, j) for i, j in zip(model.active.above, model.active.below, strict=True)}
    inside = np.array([pair in includes for pair in zip(ancestor, truth, strict=True)])
    assert inside.mean() > 0.9
    unsure = ancestor != found["leaf"][test]
    assert unsure.any()
    assert inside[unsure].mean() > (found["leaf"][test] == truth)[unsure].mean()  # stepping up pays where it is done


# --- an ontology of ten leaves, labels partly at group level ----------------------------------------------------------

LEAVES = [f"leaf{i}" for i in range(10)]
GROUPS = ["group0", "group1"]
TOY = Ontology(
    {
        "root": Term("root"),
        **{group: Term(group, parents=("root",)) for group in GROUPS},
        **{leaf: Term(leaf, parents=(GROUPS[i % 2],)) for i, leaf in enumerate(LEAVES)},
    },
    "toy",
)


def simulated(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Cells (n, 30) around the centres of leaves, and their leaves."""
    centres = np.random.default_rng(0).normal(0, 0.8, (10, 30))
    rng = np.random.default_rng(seed)
    leaf = rng.integers(0, 10, n)
    return torch.tensor(centres[leaf] + rng.normal(size=(n, 30)), dtype=torch.float32), leaf


@pytest.mark.parametrize("loss", ["plain", "reference"])
def test_leaves_are_learned_though_half_of_the_cells_are_labelled_at_group_level(loss: Any):
    x, leaf = simulated(400, 1)
    coarse = np.random.default_rng(2).random(400) < 0.5
    names = (*LEAVES, *GROUPS)
    label = np.where(coarse, 10 + leaf % 2, leaf)
    torch.manual_seed(0)
    data = spec(30, names, 400)
    model = SOCAM(SOCAMSettings(loss=loss, prior_scale=10.0), data, TOY)
    model.see_labels(torch.from_numpy(label), torch.from_numpy(label))
    optimiser, batch = torch.optim.Adam(model.parameters(), lr=0.03), batch_of(x, label)
    for step in range(150):
        optimiser.zero_grad()
        model.loss(batch, Progress(step, 150))["loss"].backward()
        optimiser.step()
    test, truth = simulated(400, 3)
    with torch.no_grad():
        found = model.predict(batch_of(test, truth))
    terms = model.active.terms
    leaves = np.array([LEAVES.index(terms[i]) for i in found["leaf"]])
    p = dict(zip(terms, found["term_probability"].T, strict=True))
    group = (p["group1"] > p["group0"]).long().numpy()
    assert (leaves == truth).mean() > 0.85  # of 10; guessing at random within the right group: 0.2
    assert (group == truth % 2).mean() > 0.95
    assert p["root"].numpy() == pytest.approx(1, abs=1e-5)
    inside = torch.stack([p[leaf] for leaf in LEAVES[::2]]).sum(0)
    assert bool((inside <= p["group0"] + 1e-5).all())
