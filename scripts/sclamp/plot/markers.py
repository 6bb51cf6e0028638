"""Marker genes of cell types: from the training cells, or from the user's table.

Ranking: among the genes that at least a quarter of a type's training cells express, the difference between the mean
log-normalised expression of the type and that of all other training cells. A gene is a marker of one type only: the
one where that difference is largest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.core.errors import UserError, unknown
from sclamp.data.h5ad import CountMap, opened, read_cells, read_frame

MIN_SHARE, MIN_CELLS, MIN_DIFFERENCE = 0.25, 5, 0.25
"""Share of a type's cells that must express a marker; cells of a type; difference in natural-log units."""


def cell_types(counts: str | Path) -> list[str]:
    """All cell types of a count file, in the order in which maps of its cells colour them."""
    with opened(counts) as file:
        obs = read_frame(file, "obs")
    return [str(name) for name in obs["label"].astype("category").cat.categories] if "label" in obs else []


def find_markers(counts: str | Path, per_type: int) -> pd.DataFrame:
    """Rank markers on the training cells of a packed count file, in one pass over the counts.

    Returns columns cell_type, gene_id, rank (from 1), difference; at most `per_type` rows per type. Empty when the
    cells have no labels.
    """
    cells = read_cells(counts)
    empty = pd.DataFrame({"cell_type": [], "gene_id": [], "rank": [], "difference": []})
    if "label" not in cells.obs:
        return empty
    label = cells.obs["label"].astype("category")
    codes = label.cat.codes.to_numpy().copy()
    if "split" in cells.obs:
        codes[(cells.obs["split"] != "train").to_numpy()] = -1
    library = cells.obs["library_size"].to_numpy(dtype=np.float64)
    sums, seen = _sums(CountMap(counts), codes, len(label.cat.categories), library, cells.spec["recipe"]["target_sum"])
    sizes = np.bincount(codes[codes >= 0], minlength=len(sums)).astype(float)
    types = np.flatnonzero(sizes >= MIN_CELLS)
    if len(types) < 2:
        return empty
    inside = sums / np.maximum(sizes, 1)[:, None]
    outside = (sums.sum(0) - sums) / np.maximum(sizes.sum() - sizes, 1)[:, None]
    difference = inside - outside
    difference[seen < MIN_SHARE * sizes[:, None]] = -np.inf
    difference[np.setdiff1d(np.arange(len(sums)), types)] = -np.inf
    owner = difference.argmax(axis=0)
    difference[np.arange(len(sums))[:, None] != owner] = -np.inf
    found = []
    for code in types:
        order = np.argsort(-difference[code], kind="stable")[:per_type]
        best = [g for g in order if difference[code, g] > MIN_DIFFERENCE]
        name, ids = str(label.cat.categories[code]), cells.var.index
        found += [(name, str(ids[g]), rank, float(difference[code, g])) for rank, g in enumerate(best, start=1)]
    return pd.DataFrame(found, columns=list(empty.columns)) if found else empty


def _sums(
    counts: CountMap, codes: np.ndarray, n_types: int, library: np.ndarray, target_sum: float
) -> tuple[np.ndarray, np.ndarray]:
    """Per type (types, genes): sum of log-normalised expression, and number of cells that express each gene."""
    sums, seen = np.zeros((n_types, counts.n_genes)), np.zeros((n_types, counts.n_genes))
    for rows, block in counts.blocks():
        own = codes[rows]
        used = np.flatnonzero(own >= 0)
        groups = sparse.csr_matrix((np.ones(len(used)), (own[used], used)), shape=(n_types, block.shape[0]))
        scale = np.repeat(target_sum / np.maximum(library[rows], 1), np.diff(block.indptr))
        lognorm = sparse.csr_matrix((np.log1p(block.data * scale), block.indices, block.indptr), shape=block.shape)
        sums += (groups @ lognorm).toarray()
        lognorm.data[:] = block.data > 0
        seen += (groups @ lognorm).toarray()
    return sums, seen


def read_markers(path: str | Path, symbols: pd.Series, per_type: int) -> pd.DataFrame:
    """Read a table (TSV or CSV) with columns cell_type and gene: symbols or identifiers, best first.

    symbols: gene id -> symbol, of the genes of the map. Genes that are not among them are skipped.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    table = pd.read_csv(path, sep=None, engine="python", dtype=str, comment="#")
    table.columns = [str(c).strip() for c in table.columns]
    if missing := [c for c in ("cell_type", "gene") if c not in table]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.columns) for name in missing))
    by_name = {str(symbol).upper(): gene for gene, symbol in symbols.items()}
    by_name |= {str(gene).upper(): gene for gene in symbols.index}
    table["gene_id"] = table["gene"].str.strip().str.upper().map(by_name)
    table = table.dropna(subset=["gene_id", "cell_type"]).drop_duplicates("gene_id")
    if table.empty:
        raise UserError(f"{path}: none of its genes is among the {len(symbols)} genes of the map.")
    table["rank"] = table.groupby("cell_type", sort=False).cumcount() + 1
    table["difference"] = np.nan
    return table.loc[table["rank"] <= per_type, ["cell_type", "gene_id", "rank", "difference"]].reset_index(drop=True)
