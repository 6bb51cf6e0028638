"""What the contrastive encoder must learn on real data, the demo's pancreas cells, without seeing a label."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sclamp.config.registry import model_class, settings_class
from sclamp.data.batches import Batches
from sclamp.data.inputs import Inputs, describe, read_inputs
from sclamp.evaluate.probe import fit_probe
from sclamp.models.base import ClosedFormModel
from sclamp.models.noise import seed_default_generator
from sclamp.train.loop import Training

ROOT = Path(__file__).resolve().parents[2]
DATASET = {
    "path": str(ROOT / "workflow" / "demo" / "pancreas.h5ad"), "label": "cell_type", "batch": "library",
    "quality": {"min_genes": 200, "min_cells": 3},
    "split": {"strategy": "stratified", "val_share": 0.1, "test_share": 0.2},
}  # fmt: skip

pytestmark = pytest.mark.learning


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrastive")
    cells, found = folder / "cells.h5ad", folder / "counts.h5ad"
    for script, arguments in (
        ("prepare_cells.py", ["--settings", json.dumps(DATASET), "--output", cells]),
        ("select_genes.py", ["--cells", cells, "--table", folder / "genes.parquet", "--counts", found]),
    ):
        command = [sys.executable, ROOT / "scripts" / script, *arguments]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return found


def embedded(path: Path, train: bool = True, **settings: Any) -> tuple[np.ndarray, Inputs]:
    """Embedding of all cells by a model, trained or as it starts."""
    data = describe(path, {})
    inputs = read_inputs(path, data)
    seed_default_generator("cpu", "initialise", 0)
    chosen = settings_class(settings["mode"])(**settings)
    model = model_class(chosen.mode)(chosen, data)
    batches = Batches(inputs, model.wants(), torch.device("cpu"))
    if isinstance(model, ClosedFormModel):
        model.fit(batches)
    else:
        model.initialise(batches)
        if train:
            Training(model, batches, chosen, seed=0).run()
    model.eval()
    with torch.no_grad():
        return torch.cat([model.embed_cells(b) for b in batches.batches(None)]).double().numpy(), inputs


def accuracies(z: np.ndarray, inputs: Inputs) -> tuple[float, float]:
    """Of cell types of test cells, from training cells: by a linear probe, and by the nearest cell."""
    train, test = (inputs.rows(split)[inputs.label[inputs.rows(split)] >= 0] for split in ("train", "test"))
    linear = fit_probe(z[train], inputs.label[train]).predict(z[test])
    nearest = train[np.square(z[test][:, None] - z[train][None]).sum(2).argmin(1)]
    truth = inputs.label[test]
    return float((linear == truth).mean()), float((inputs.label[nearest] == truth).mean())


def test_it_learns_cell_types_that_it_is_not_told(counts: Path) -> None:
    settings: dict[str, Any] = {"mode": "contrastive", "max_epochs": 10, "device": "cpu"}
    learned, start = (accuracies(*embedded(counts, train, **settings)) for train in (True, False))
    components = accuracies(*embedded(counts, mode="pca"))
    assert learned[0] > 0.97 and learned[1] > 0.95, learned
    assert learned[0] > start[0] + 0.1 and learned[1] > start[1] + 0.1, (learned, start)
    assert learned[0] > components[0] - 0.01 and learned[1] > components[1] - 0.01, (learned, components)
