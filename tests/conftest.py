"""What tests of several rooms share: a small counts file with structure, and gene priors for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

pytest_plugins = ["fault_trials"]

TYPES, BATCHES = ("alpha", "beta", "delta"), ("one", "two")


@pytest.fixture
def tiny_counts(tmp_path: Path) -> Callable[..., Path]:
    """Factory of packed counts files like those of select_genes.py: 3 cell types, 2 batches, splits 7:1:2.

    Keyword arguments: n_cells, n_genes, seed, name, order (permutation of the genes), one_batch, scale (of the counts).
    """

    def make(
        n_cells: int = 120, n_genes: int = 60, seed: int = 0, name: str = "tiny.h5ad", order: Any = None,
        one_batch: bool = False, scale: float = 1.0, splits: tuple[float, ...] = (0.7, 0.1, 0.2),
    ) -> Path:  # fmt: skip
        counts, obs = _simulated(n_cells, n_genes, seed, scale, splits)
        if one_batch:
            obs["batch"] = pd.Categorical(["one"] * n_cells)
        ids = np.array([f"G{i:04d}" for i in range(n_genes)], dtype=object)
        order = np.arange(n_genes) if order is None else np.asarray(order)
        return write_counts(tmp_path / name, counts[:, order], obs, ids[order])

    return make


@pytest.fixture
def tiny_prior(tmp_path: Path) -> Callable[..., Path]:
    """Factory of matched gene priors for `tiny_counts`: (n_genes, width) Gaussian vectors by gene id."""

    def make(genes: list[str], width: int = 8, name: str = "text", seed: int = 5) -> Path:
        from sclamp.core.files import write_embedding

        vectors = {f"G{i:04d}": v for i, v in enumerate(np.random.default_rng(seed).normal(size=(10_000, width)))}
        path = tmp_path / f"{name}.parquet"
        write_embedding(path, "gene_id", genes, np.array([vectors[g] for g in genes], np.float32), {})
        return path

    return make


def _simulated(
    n_cells: int, n_genes: int, seed: int, scale: float, splits: tuple[float, ...]
) -> tuple[np.ndarray, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    kind, batch = rng.integers(0, len(TYPES), n_cells), rng.integers(0, len(BATCHES), n_cells)
    programs = rng.gamma(0.5, 2.0, (len(TYPES), n_genes)) + 0.05
    effects = rng.gamma(5.0, 0.2, (len(BATCHES), n_genes))
    depth = rng.gamma(5.0, 0.3, (n_cells, 1))
    counts = rng.poisson(scale * depth * programs[kind] * effects[batch]).astype(np.int64)
    counts[counts.sum(1) == 0, 0] = 1
    split = np.full(n_cells, "train", dtype=object)
    first, second = (round(n_cells * s) for s in (splits[0], splits[0] + splits[1]))
    shuffled = rng.permutation(n_cells)
    split[shuffled[first:second]], split[shuffled[second:]] = "val", "test"
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(BATCHES, dtype=object)[batch]),
            "label": pd.Categorical(np.array(TYPES, dtype=object)[kind]),
            "split": pd.Categorical(split),
            "library_size": (counts.sum(1) + 3).astype(np.float32),
        },
        index=pd.Index([f"cell{i}" for i in range(n_cells)], dtype=object),
    )
    return counts, obs


def write_counts(path: Path, counts: np.ndarray, obs: pd.DataFrame, ids: np.ndarray) -> Path:
    """Write a counts file with the statistics of its training cells, computed here on the dense matrix."""
    from sclamp.data.h5ad import counts_writer

    x = np.log1p(counts / obs["library_size"].to_numpy(np.float64)[:, None] * 1e4)
    train = x[(obs["split"] == "train").to_numpy()] if (obs["split"] == "train").any() else x
    std = train.std(0)
    var = pd.DataFrame(
        {"symbol": ids, "lognorm_mean": train.mean(0), "lognorm_std": np.where(std == 0, 1.0, std)},
        index=pd.Index(ids, dtype=object),
    )
    batches = sorted(set(obs["batch"].astype(str)))
    one_hot = np.stack([(obs["batch"] == b).to_numpy(np.float32) for b in batches], 1)
    spec = {
        "batches": batches,
        "labels": sorted(set(obs["label"].astype(str))),
        "batch_column": "batch",
        "covariates": {"categorical": {"batch": batches}, "continuous": {}},
        "recipe": {"target_sum": 1e4, "log1p": True, "clip": 10.0},
    }
    kind = np.uint8 if counts.max(initial=0) < 256 else np.uint16 if counts.max() < 65_536 else np.uint32
    block = sparse.csr_matrix(counts.astype(np.float64))
    uns = {"spec": spec, "provenance": {}}
    with counts_writer(path, obs, var, block.nnz, kind, np.uint16, {"covariates": one_hot}, uns) as writer:
        writer.append(block)
    return path
