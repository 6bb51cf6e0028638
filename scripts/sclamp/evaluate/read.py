"""Reading what is scored: embeddings, neighbours, columns of the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.data.h5ad import opened, read_frame
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.neighbors import Neighbors

HELD_OUT = ("val", "test")
"""Splits whose cells did not change the model's parameters; validation cells chose the checkpoint."""


def read_cell_vectors(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Cell ids (n,) and embedding (n, d) float32 of a cell_embedding.parquet, NaN and all.

    Unlike `read_embedding` it accepts values that are not finite: scores report them for each cell set.
    """
    table = read_table(path)
    ids, column = _columns(path, table, "cell_id", "embedding")
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if len(np.unique(lengths)) > 1:
        raise UserError(f"{path}: vectors of unequal length, from {lengths.min()} to {lengths.max()} values.")
    if len(ids) == 0 or lengths[0] == 0:
        raise UserError(f"{path}: the embedding is empty ({len(ids)} cells).")
    return ids, np.asarray(column.flatten(), dtype=np.float32).reshape(len(ids), -1)


def read_neighbors(path: str | Path) -> tuple[np.ndarray, Neighbors]:
    """Cell ids and neighbours of a neighbors.parquet; a cell without neighbours gets rows of -1 and NaN."""
    table = read_table(path)
    ids, indices = _columns(path, table, "cell_id", "neighbors")
    _, distances = _columns(path, table, "cell_id", "distances")
    lengths = indices.value_lengths().to_numpy(zero_copy_only=False)
    k = int(lengths.max(initial=0))
    if set(np.unique(lengths)) - {0, k}:
        raise UserError(f"{path}: the cells have {lengths.min()} to {k} neighbours; equal numbers are expected.")
    found = Neighbors(np.full((len(ids), k), -1, np.int32), np.full((len(ids), k), np.nan, np.float32))
    found.indices[lengths == k] = np.asarray(indices.flatten()).reshape(-1, k)
    found.distances[lengths == k] = np.asarray(distances.flatten()).reshape(-1, k)
    return ids, found


def read_annotation(path: str | Path) -> tuple[np.ndarray, Annotation]:
    """Cell ids (n,) of an .h5ad, and from its obs batches, labels, held-out cells and pseudotime."""
    with opened(path) as file:
        obs = read_frame(file, "obs")
    if "batch" not in obs:
        raise UserError(f"{path}: " + unknown("obs column", "batch", obs.columns))
    batches, batch_names = _codes(obs["batch"])
    labels, label_names = _codes(obs["label"]) if "label" in obs else (None, ())
    held_out = obs["split"].isin(HELD_OUT).to_numpy() if "split" in obs else np.zeros(len(obs), bool)
    pseudotime = None
    if "pseudotime" in obs:
        try:
            pseudotime = obs["pseudotime"].to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: obs column 'pseudotime' is not numeric ({error}).") from error
    return obs.index.to_numpy(), Annotation(batches, labels, held_out, batch_names, label_names, pseudotime)


def _codes(column: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    known = column.astype("category").cat
    return known.codes.to_numpy().astype(np.int64), tuple(map(str, known.categories))


def check_same_cells(ids: np.ndarray, of: str | Path, expected: np.ndarray, source: str | Path) -> None:
    """Stop unless both files hold the same cells in the same order."""
    if len(ids) != len(expected):
        raise UserError(f"{of}: has {len(ids)} cells, {source} has {len(expected)}; both must hold the same cells.")
    if (different := np.flatnonzero(ids != expected)).size:
        at = different[0]
        raise UserError(
            f"{of}: cell {at} is '{ids[at]}', in {source} it is '{expected[at]}'; both must hold the same cells in the "
            "same order."
        )


def _columns(path: str | Path, table: Any, *names: str) -> tuple[np.ndarray, Any]:
    """The ids and one list column (as one Arrow array) of a table."""
    if missing := [name for name in names if name not in table.column_names]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.column_names) for name in missing))
    import pyarrow as pa

    column = table[names[1]].combine_chunks()
    column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(table[names[0]].to_pylist(), dtype=object), column
