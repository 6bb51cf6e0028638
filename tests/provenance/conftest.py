"""A results folder in small: one file of each kind, each with the provenance that its script would write."""

import json
import os
from pathlib import Path

import h5py
import pytest

from sclamp.core.files import write_embedding, write_json, write_table, write_text
from sclamp.core.provenance import beside, provenance
from sclamp.digest import code_of

RUN = Path("results/datasets/one/models/pca/seed_1")


def made_by(script, settings, *inputs, mode=None, **more):
    return provenance(script, settings, inputs, code_of(script, mode), ("numpy",), **more)


def fill(folder):
    """Make the files; each reads what came before."""
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    write_text("one.csv", "cell,gene\n")
    data = Path("results/datasets/one")
    write_text(data / "checks.txt", "fine\n")
    origin = made_by("check_dataset.py", {"path": "one.csv"}, beside=beside(data / "checks.txt"))
    write_json(data / "checks.json", {"status": "ok", "provenance": origin})
    with h5py.File(data / "cells.h5ad", "w", track_order=False) as file:
        origin = made_by("prepare_cells.py", {"path": "one.csv", "label": None}, "one.csv")
        file["uns/sclamp"] = json.dumps({"spec": {}, "provenance": origin})
    write_model(RUN / "model.pt", data / "cells.h5ad")
    origin = made_by("export_embeddings.py", {"seed": 1}, RUN / "model.pt", data / "cells.h5ad", mode="pca")
    write_embedding(RUN / "cell_embedding.parquet", "cell_id", ["a", "b"], [[1.0], [2.0]], origin)
    for model in ("pca", "random"):
        path = RUN.parent.parent / model / "seed_1/scores/integration.parquet"
        write_table(path, {"value": [len(model)]}, made_by("score_integration.py", {}, RUN / "cell_embedding.parquet"))
    scores = sorted(data.glob("models/*/seed_1/scores/integration.parquet"))
    write_text("results/summary/scores.csv", "value\n1\n")
    origin = made_by("summarize_scores.py", {}, *scores, beside=beside("results/summary/scores.csv"))
    write_table("results/summary/scores.parquet", {"value": [1]}, origin)
    draw(Path("results/figures/one/scores.png"))
    origin = made_by("write_report.py", {"title": "<small>"}, Path("results/figures/one/scores.png"))
    text = json.dumps(origin).replace("<", "\\u003c")
    page = f'<body><script type="application/json" id="sclamp">{text}</script></body>'
    write_text("results/report.html", page)
    write_text("results/logs/report.log", "")


def write_model(path, counts):
    """A checkpoint with nothing but its provenance."""
    from sclamp.train.checkpoint import save_plain

    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"mode": "pca", "latent_dim": 7, "genes": "hvg"}
    origin = made_by("train_model.py", settings, counts, mode="pca", seed=1, device="cpu", threads=2)
    save_plain(path, {"mode": "pca", "provenance": json.dumps(origin)})


def draw(path):
    """A figure with its provenance."""
    from sclamp.plot import style

    path.parent.mkdir(parents=True, exist_ok=True)
    origin = made_by("plot_scores.py", {"dataset": "one"}, "results/summary/scores.parquet")
    style.save(style.nothing("one", "Nothing."), path, 60, origin)


@pytest.fixture
def fill_folder():
    """Makes the files in a folder of one's choice, and goes there."""
    return fill


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "project")
    return tmp_path / "project"
