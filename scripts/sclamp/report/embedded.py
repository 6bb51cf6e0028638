"""One AnnData with every embedding of a data set."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from sclamp.core.cli import name_and_path
from sclamp.core.errors import UserError
from sclamp.core.files import SPARE, provenance_of, read_embedding, read_table, take_space, written_aside
from sclamp.core.progress import doing
from sclamp.core.provenance import provenance
from sclamp.data.h5ad import opened, read_frame, read_uns
from sclamp.plot.tables import read_layout

READ = ("cell_embedding.parquet", "umap.parquet", "gene_embedding.parquet")
"""Files of a run that are put in, where they exist."""


class Run(NamedTuple):
    """A model's run. key: name of its embeddings, the model's name, with the seed where there are several."""

    model: str
    seed: int | None
    folder: Path
    key: str


def parse_runs(texts: Sequence[str]) -> list[Run]:
    """Read NAME=FOLDER texts; lists every text that is malformed, missing or given twice."""
    problems, found = [], []
    for text in texts:
        name, folder = name_and_path(text)
        if not name or not folder:
            problems.append(f"--run: '{text}' is not of the form NAME=FOLDER.")
        elif not Path(folder).is_dir():
            problems.append(f"--run {name}: the folder '{folder}' does not exist.")
        else:
            seed = re.fullmatch(r"seed_(\d+)", Path(folder).name)
            found.append((name, int(seed[1]) if seed else None, Path(folder)))
    names = [name for name, _, _ in found]
    runs = [
        Run(name, seed, folder, name if names.count(name) == 1 else f"{name}_seed{seed}")
        for name, seed, folder in found
    ]
    keys = [run.key for run in runs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    problems += [f"--run: two runs would both be named '{key}'." for key in twice]
    if problems:
        raise UserError(*problems)
    return runs


def assemble(cells: str | Path, runs: Sequence[Run], output: str | Path, code: str = "") -> None:
    """Copy cells.h5ad as a file, so that the counts never come into memory, and add the embeddings to the copy."""
    with opened(cells) as file:
        obs, var = read_frame(file, "obs").index, read_frame(file, "var").index
    stored = read_uns(cells)
    _check_ids(cells, obs, var, runs)
    with written_aside(output) as aside:
        with doing(f"copying {cells}"):
            shutil.copyfile(cells, aside)
        take_space(aside, SPARE + sum(_space_of(run) for run in runs))
        with h5py.File(aside, "r+") as file:
            stored["embeddings"] = {run.key: _add(file, run, obs, var) for run in runs}
            files = [cells, *(run.folder / name for run in runs for name in READ if (run.folder / name).is_file())]
            stored["assembled"] = provenance("assemble_embedded.py", {}, files, code, ("anndata", "h5py"))
            del file["uns/sclamp"]
            write_elem(file, "uns/sclamp", json.dumps(stored))


def _space_of(run: Run) -> int:
    """Bytes that a run's arrays take at most: its tables, and where they come from."""
    size = 1 << 16
    for name in ("cell_embedding", "umap", "gene_embedding"):
        if (path := run.folder / f"{name}.parquet").is_file():
            size += read_table(path).nbytes
    return size


def _check_ids(cells: str | Path, obs: pd.Index, var: pd.Index, runs: Sequence[Run]) -> None:
    """Every embedding must hold exactly the data set's cells, and none but its genes; all that do not are named."""
    problems = []
    for run in runs:
        path = run.folder / "cell_embedding.parquet"
        try:
            ids = pd.Index(read_table(path)["cell_id"].to_pylist())
        except UserError as error:
            problems += error.problems
            continue
        if len(lost := obs.difference(ids)):
            problems.append(f"{path}: {len(lost)} cells of {cells} have no embedding; the first is '{lost[0]}'.")
        if len(extra := ids.difference(obs)):
            problems.append(f"{path}: {len(extra)} cells are not in {cells}; the first is '{extra[0]}'.")
        if (path := run.folder / "gene_embedding.parquet").is_file():
            foreign = pd.Index(read_table(path)["gene_id"].to_pylist(), dtype=object).difference(var)
            if len(foreign):
                problems.append(f"{path}: {len(foreign)} genes are not in {cells}; the first is '{foreign[0]}'.")
    if problems:
        raise UserError(*problems)


def _add(file: h5py.File, run: Run, obs: pd.Index, var: pd.Index) -> dict[str, Any]:
    """Add one run's arrays; returns where they come from."""
    path = run.folder / "cell_embedding.parquet"
    ids, embedding = read_embedding(path, "cell_id")
    write_elem(file, f"obsm/X_{run.key}", _aligned(embedding, ids, obs))
    if (layout := run.folder / "umap.parquet").is_file():
        ids, at = read_layout(layout)
        write_elem(file, f"obsm/X_umap_{run.key}", _aligned(at.astype(np.float32), ids, obs))
    if (genes := run.folder / "gene_embedding.parquet").is_file():
        ids, embedding = read_embedding(genes, "gene_id") if read_table(genes).num_rows else (np.empty(0), np.empty(0))
        if len(ids):
            write_elem(file, f"varm/{run.key}", _aligned(embedding, ids, var))
    return {"model": run.model, "seed": run.seed, "provenance": provenance_of(read_table(path))}


def _aligned(values: np.ndarray, ids: np.ndarray, target: pd.Index) -> np.ndarray:
    """Rows in the order of `target`, float32; NaN where there is none."""
    rows = pd.Index(ids).get_indexer(target)
    out = np.full((len(target), values.shape[1]), np.nan, dtype=np.float32)
    out[rows >= 0] = values[rows[rows >= 0]]
    return out
