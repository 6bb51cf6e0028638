"""What figures read: layouts, columns of cells, in small arrays."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.data.h5ad import opened, read_frame

SPLITS = ("train", "val", "test")


class Category(NamedTuple):
    """A categorical column: codes (n,) with -1 for missing, and the categories' names."""

    codes: np.ndarray
    names: tuple[str, ...]


def require(path: str | Path, found: list[str], needed: list[str]) -> None:
    """Stop when a table lacks columns; names each of them."""
    if missing := [name for name in needed if name not in found]:
        raise UserError(*(f"{path}: " + unknown("column", name, found) for name in missing))


def read_layout(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read umap.parquet: cell ids (n,) and positions (n, 2); only cells that were laid out are in it."""
    table = read_table(path)
    require(path, table.column_names, ["cell_id", "umap_1", "umap_2"])
    at = np.column_stack([table["umap_1"].to_numpy(), table["umap_2"].to_numpy()]).astype(np.float64)
    ids = np.asarray(table["cell_id"].to_pylist(), dtype=object)
    placed = np.isfinite(at).all(axis=1)
    if not placed.any():
        raise UserError(f"{path}: no cell has a position.")
    return ids[placed], at[placed]


def read_categories(path: str | Path, ids: np.ndarray, columns: list[str]) -> tuple[dict[str, Category], int]:
    """Columns of obs for the given cells, in their order, and the number of cells in the file.

    Left out: columns that do not exist, and those that tell no cells apart (one value only).
    """
    with opened(path) as file:
        obs = read_frame(file, "obs")
    rows = obs.index.get_indexer(ids)
    if (rows < 0).any():
        lost = ids[rows < 0]
        raise UserError(f"{path}: {len(lost)} of {len(ids)} cells are not in this file; the first is '{lost[0]}'.")
    found = {}
    for column in columns:
        if column not in obs:
            continue
        values = obs[column].astype("category")
        if column == "split":
            values = values.cat.set_categories([s for s in SPLITS if s in values.cat.categories])
        codes = values.cat.codes.to_numpy()[rows]
        if len(np.unique(codes)) > 1:
            found[column] = Category(codes, tuple(str(name) for name in values.cat.categories))
    return found, len(obs)


def read_symbols(path: str | Path) -> dict[str, str]:
    """Symbols of genes by their id, from the table of a gene selection; a gene without one stands for itself."""
    table = read_table(path)
    require(path, table.column_names, ["gene_id", "symbol"])
    pairs = zip(table["gene_id"].to_pylist(), table["symbol"].to_pylist(), strict=True)
    return {gene: symbol or gene for gene, symbol in pairs}
