"""Models of cells that were not all measured for the same genes, and the scripts from files to embeddings."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch

from sclamp.config.registry import model_class, settings_class
from sclamp.core.files import read_embedding
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_gene_priors, read_inputs
from sclamp.data.panels import Panels
from sclamp.models.base import GradientModel
from sclamp.train.checkpoint import load_model
from sclamp.train.embed import embed_cells, inputs_of
from sclamp.types import Batch, Progress

CPU = torch.device("cpu")
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DEMO = SCRIPTS.parent / "workflow/demo/pancreas.h5ad"
LACKING = [3, 17, 40, 41, 42]
"""Positions of the genes that no cell of a test's batch was measured for."""
JUDGING = ("beta_vae", "direct", "scvi", "gene_nb", "contrastive")
"""Modes that know which genes were measured."""


@pytest.fixture
def case(tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path]) -> Callable[..., Any]:
    """Factory: a mode's model with a batch in which no cell was measured for `LACKING`, whatever its counts say."""

    def make(mode: str) -> tuple[GradientModel, Batch]:
        known = settings_class(mode).model_fields
        names = ["text"] if "gene_priors" in known and mode != "scvi" else []
        values = {"latent_dim": 4, "hidden_dims": (16,), "max_epochs": 3, "device": "cpu"}
        settings = settings_class(mode)(mode=mode, **values, **({"gene_priors": names} if names else {}))
        path, genes = tiny_counts(), [f"G{i:04d}" for i in range(60)]
        priors = read_gene_priors({name: tiny_prior(genes) for name in names})
        data = describe(path, priors)
        torch.manual_seed(0)
        model = model_class(mode)(settings, data)
        model.load_gene_priors({name: torch.tensor(matrix) for name, (_, matrix) in priors.items()})
        measured = np.ones((1, 60), dtype=bool)
        measured[:, LACKING] = False
        inputs = read_inputs(path, data)
        inputs = replace(inputs, panels=Panels(("a",), np.zeros(len(inputs.split), np.int64), measured))
        batch = next(Batches(inputs, model.wants(), CPU).of([inputs.rows("train")[:24]]))
        return model.eval(), batch

    return make


@pytest.mark.parametrize("mode", JUDGING)
def test_genes_off_the_panel_teach_a_model_nothing(case: Callable[..., Any], mode: str):
    model, batch = case(mode)
    parts = model.loss(batch, Progress(999, 1000))
    (parts["loss"] - parts.get("shrinkage", 0)).backward()  # the charge for large weights knows no cells
    parameters = dict(model.named_parameters())
    judged = {name: axis for name, axis in model.gene_axes().items() if name in parameters}
    assert judged
    for name, axis in judged.items():
        gradient = parameters[name].grad
        assert gradient is not None and gradient.any(), name
        assert not gradient.index_select(axis, torch.tensor(LACKING)).any(), name


# --- from files to predictions, by the scripts ------------------------------------------------------------------------

FILES = ("human1_lib1", "human1_lib2", "human1_lib3")
N_GENES = 300
HAVE = {"human1_lib1": range(300), "human1_lib2": range(100, 300), "human1_lib3": [*range(150), *range(200, 300)]}
"""Which of the demo's 300 most variable genes each library keeps."""


@pytest.fixture(scope="module")
def truth() -> anndata.AnnData:
    """Six hundred cells of the demo, beta, alpha, delta and ductal, and the genes that differ most between them."""
    data = anndata.read_h5ad(DEMO)
    data = data[data.obs["cell_type"].isin(["beta", "alpha", "delta", "ductal"]).to_numpy()]
    data = data[np.random.default_rng(0).permutation(data.n_obs)[:600]]
    normal = np.log1p(data.X.toarray() / data.X.sum(1) * 1e4)
    return data[:, np.argsort(-np.asarray(normal).var(0))[:N_GENES]].copy()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(name: str, *arguments: object, **settings: Any) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--settings", json.dumps(settings)])
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as end:
            assert not end.code, capfd.readouterr().err
        return capfd.readouterr().err

    return call


@pytest.fixture
def trained(truth: anndata.AnnData, script: Callable[..., str], tmp_path: Path) -> Callable[..., Path]:
    """Factory: files that lack genes, prepared, selected, and a model trained on them; returns the folder."""

    def make(way: dict[str, str], **model: Any) -> Path:
        paths = []
        for name, genes in HAVE.items():
            paths.append(str(tmp_path / f"{name}.h5ad"))
            truth[truth.obs["library"] == name, list(genes)].write_h5ad(paths[-1])
        settings = {"join": "outer", "label": "cell_type", "batch": "file", "quality": {"min_cells": 0}, **way}
        script("prepare_cells.py", "--output", tmp_path / "cells.h5ad", path=paths, **settings)
        out = ["--table", tmp_path / "genes.parquet", "--counts", tmp_path / "genes.h5ad"]
        script("select_genes.py", "--cells", tmp_path / "cells.h5ad", *out, flavor="all")
        files = ["--model", tmp_path / "model.pt", "--history", tmp_path / "history.parquet"]
        script("train_model.py", "--counts", tmp_path / "genes.h5ad", *files, "--seed", 1, device="cpu", **model)
        return tmp_path

    return make


def agreement_of_lacking(folder: Path, truth: anndata.AnnData) -> float:
    """Mean correlation per gene of what a model says of the genes that a library lacks with what was measured."""
    loaded = load_model(folder / "model.pt")
    inputs = read_inputs(folder / "genes.h5ad", loaded.model.data)
    batches = Batches(inputs, loaded.model.wants(), CPU)
    with torch.no_grad():
        found = torch.cat([loaded.model.reconstruct(batch) for batch in batches.batches(None)]).numpy()
    if "entries" in loaded.model.wants():
        found = np.log1p(found / inputs.library_size[:, None] * 1e4)
    values = []
    for name, genes in HAVE.items():
        cells = [f"{cell}-{name}" for cell in truth.obs_names[truth.obs["library"] == name]]
        rows = [list(inputs.cell_ids).index(cell) for cell in cells]
        counts = truth[[cell.rpartition("-")[0] for cell in cells]].X.toarray()
        expected = np.log1p(counts / inputs.library_size[rows, None] * 1e4)
        where = [list(loaded.model.data.gene_ids).index(gene) for gene in truth.var_names]
        for gene in sorted(set(range(N_GENES)) - set(genes)):
            pair = found[rows][:, where[gene]], expected[:, gene]
            values.append(np.corrcoef(*pair)[0, 1] if min(map(np.ptp, pair)) > 1e-6 else 0.0)
    return float(np.mean(values))


SMALL: dict[str, dict[str, Any]] = {
    "beta_vae": {"mode": "beta_vae", "max_epochs": 20},
    "scvi": {"mode": "scvi", "max_epochs": 20, "batch_size": 32},
    "gene_nb": {"mode": "gene_nb", "max_epochs": 20, "batch_size": 32},
}


@pytest.mark.parametrize("mode", SMALL)
def test_genes_that_a_panel_lacks_are_predicted_better_than_from_zeros(
    trained: Callable[..., Path], truth: anndata.AnnData, mode: str
):
    right = agreement_of_lacking(trained({}, **SMALL[mode]), truth)
    as_zero = agreement_of_lacking(trained({"absent_genes": "zero"}, **SMALL[mode]), truth)
    assert right > 0.25
    assert right > as_zero + 0.05


@pytest.mark.parametrize("mode", SMALL)
def test_a_new_file_that_lacks_genes_embeds_as_the_panel_that_lacks_them(
    trained: Callable[..., Path], script: Callable[..., str], tmp_path: Path, mode: str
):
    """Reading anew finds what training saw: which genes were measured, and the library size over these."""
    folder = trained({}, **(SMALL[mode] | {"max_epochs": 2}))
    model = ["--model", folder / "model.pt"]
    new = anndata.read_h5ad(tmp_path / "human1_lib2.h5ad")
    new.obs["file"] = "human1_lib2"
    new.write_h5ad(tmp_path / "new.h5ad")
    said = script("embed_cells.py", *model, "--data", tmp_path / "new.h5ad", "--output", tmp_path / "new.parquet")
    assert "200 of the model's 300 genes (66.7%) are there by gene ids, 0 further ones are not read; the others" in said
    assert "were not measured" in said
    _, found = read_embedding(tmp_path / "new.parquet", "cell_id")
    loaded = load_model(folder / "model.pt")
    inputs = inputs_of(loaded, folder / "genes.h5ad")
    expected = embed_cells(loaded.model, Batches(inputs, loaded.model.wants(), CPU))
    np.testing.assert_allclose(found, expected[[cell.endswith("lib2") for cell in inputs.cell_ids]], atol=1e-5)
