"""Small files of every kind that the project reads, for tests that damage them."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
from scipy import sparse
from trial_worker import worker

N_CELLS, N_GENES = 90, 64
GENES = [f"GENE{i}" for i in range(N_GENES)]
DATASET = {"label": "kind", "batch": "donor", "quality": {"min_cells": 0, "min_genes": 0, "min_counts": 0}}


def counts(seed: int = 0) -> np.ndarray:
    """Counts (cells, genes) of three kinds of cells; no empty cell, no empty gene."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.5, 2.0, (3, N_GENES))[np.arange(N_CELLS) % 3]
    found = rng.poisson(rates).astype(np.float32)
    found[:, 0] += 1
    found[0] += 1
    return found


def annotated(matrix: Any, **columns: Any) -> anndata.AnnData:
    """AnnData of the counts, with obs columns kind, donor and age; more columns by name."""
    rng = np.random.default_rng(1)
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical([f"type_{i % 3}" for i in range(N_CELLS)]),
            "donor": pd.Categorical([f"d{i}" for i in rng.integers(0, 2, N_CELLS)]),
            "age": rng.normal(40, 10, N_CELLS),
            **columns,
        },
        index=[f"cell_{i}" for i in range(N_CELLS)],
    )
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=GENES))


def write_h5ad(path: Path, form: str, compression: str | None = None) -> Path:
    """form: csr, csc or dense."""
    matrix = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[form](counts())
    annotated(matrix).write_h5ad(path, compression=compression)
    return path


def write_tenx(path: Path) -> Path:
    """A 10x .h5 file of version 3."""
    matrix = sparse.csr_matrix(counts().astype(np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([f"cell_{i}".encode() for i in range(N_CELLS)])
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = np.array([N_GENES, N_CELLS])
        columns = {"id": GENES, "name": GENES, "feature_type": ["Gene Expression"] * N_GENES}
        for name, values in columns.items():
            group[f"features/{name}"] = np.array([value.encode() for value in values])
    return path


def write_tenx_folder(folder: Path, zipped: bool) -> Path:
    """A 10x MTX folder of version 3."""
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", sparse.coo_matrix(counts().T.astype(int)), field="integer")
    (folder / "barcodes.tsv").write_text("".join(f"cell_{i}\n" for i in range(N_CELLS)))
    (folder / "features.tsv").write_text("".join(f"{g}\t{g}\tGene Expression\n" for g in GENES))
    if zipped:
        for file in list(folder.iterdir()):
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
            file.unlink()
    return folder


def settings(path: Path, **more: Any) -> str:
    """Settings of a dataset as JSON."""
    return json.dumps({**DATASET, "path": str(path), **more})


def prepared(folder: Path) -> Path:
    """cells.h5ad, genes.parquet, genes.h5ad in a folder, by the project's own scripts."""
    raw = write_h5ad(folder / "raw.h5ad", "csr")
    succeed("prepare_cells.py", "--settings", settings(raw), "--output", folder / "cells.h5ad")
    select = ["--settings", json.dumps({"n_genes": 60, "flavor": "all"})]
    tables = ["--table", folder / "genes.parquet", "--counts", folder / "genes.h5ad"]
    succeed("select_genes.py", "--cells", folder / "cells.h5ad", *select, *tables)
    return folder


def prepared_with_prior(folder: Path) -> Path:
    """The same, and matched.parquet: a one-hot gene prior matched to the genes, with its coverage.json."""
    prepared(folder)
    onehot = ["--settings", json.dumps({"source": "onehot"}), "--genes", folder / "genes.parquet"]
    outputs = ["--output", folder / "matched.parquet", "--report", folder / "coverage.json"]
    succeed("match_gene_prior.py", *onehot, "--counts", folder / "genes.h5ad", *outputs)
    return folder


def succeed(script: str, *arguments: Any) -> None:
    """Run a script that must do what it is asked."""
    outcome = worker().script(script, *arguments, seconds=120)
    assert outcome.status == 0, outcome.said


def vectors(width: int = 8) -> np.ndarray:
    """Gene vectors (genes, width)."""
    return np.random.default_rng(5).normal(size=(N_GENES, width)).astype(np.float32)


def write_prior(path: Path) -> tuple[Path, dict[str, Any]]:
    """A gene prior in the format that the file's name asks for: the file, and the settings that read it."""
    own = {"source": "file", "path": str(path)}
    if path.name == "prior.parquet":
        pd.DataFrame({"gene_id": GENES, "embedding": list(vectors())}).to_parquet(path)
    elif path.name in {"prior.csv", "prior.csv.gz"}:
        table = pd.DataFrame(vectors(), columns=[f"v{i}" for i in range(8)])
        table.insert(0, "gene_id", GENES)
        table.to_csv(path, index=False)
    elif path.name == "prior.npz":
        np.savez(path, gene_id=np.array(GENES), embedding=vectors())
    elif path.name == "prior.pkl":
        path.write_bytes(pickle.dumps(dict(zip(GENES, vectors(), strict=True))))
    elif path.name == "lists.pkl":
        path.write_bytes(pickle.dumps({g: v.tolist() for g, v in zip(GENES, vectors(), strict=True)}, protocol=0))
    else:
        own |= {"tensor": "emb.weight", "vocabulary": str(_vocabulary(path.parent))}
        _write_checkpoint(path)
    return path, own


def _vocabulary(folder: Path) -> Path:
    path = folder / "vocabulary.json"
    path.write_text(json.dumps({gene: row for row, gene in enumerate(GENES)}))
    return path


def _write_checkpoint(path: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    if path.suffix == ".safetensors":
        save_file({"emb.weight": vectors()}, path)
    else:
        old = path.name == "old.pt"
        torch.save({"emb.weight": torch.from_numpy(vectors())}, path, _use_new_zipfile_serialization=not old)
