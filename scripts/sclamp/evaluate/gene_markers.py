"""Marker genes of cell types: from the expression of some cells, or from the user's table.

How strongly a gene marks a type is the difference between its mean log-normalised expression in the type and that in
all other cells, for genes that at least a quarter of the type's cells express. In the demo this ranking repeats best
between training and held-out cells: 89% of the 20 best genes of a type are the same; by the rank-sum test's area 81%,
by Welch's t 81%, by the difference over the gene's standard deviation 84%.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.core.errors import UserError, unknown
from sclamp.data.h5ad import Cells, CountMap, read_cells
from sclamp.data.panels import stored

MIN_SHARE, MIN_CELLS, MIN_DIFFERENCE = 0.25, 5, 0.25
"""Share of a type's cells that must express a marker; cells of a type; difference in natural-log units."""


class Differences(NamedTuple):
    """Each type against all other cells.

    types (t,): codes of the cell types with enough cells. difference (t, genes): mean log-normalised expression of the
    type less that of the others. share (t, genes): of the type's cells that express the gene.
    """

    types: np.ndarray
    difference: np.ndarray
    share: np.ndarray


def differences(path: str | Path, cells: Cells, codes: np.ndarray) -> Differences:
    """Compare each type with all other cells, in one pass over a packed count file.

    cells: what `read_cells` read from the file. codes (n,): cell types, -1 for cells that do not count. Cells that were
    not measured for a gene do not count for it.
    """
    library = cells.obs["library_size"].to_numpy(dtype=np.float64)
    n_types = int(codes.max(initial=0)) + 1
    sums, seen = _sums(CountMap(path), codes, n_types, library, cells.spec["recipe"]["target_sum"])
    sizes = np.bincount(codes[codes >= 0], minlength=n_types)
    panels = stored(cells.obs, cells.spec, cells.var.index)
    n = sizes[:, None] if panels is None else panels.cells_with(codes, n_types)
    inside, outside = sums / np.maximum(n, 1), (sums.sum(0) - sums) / np.maximum(n.sum(0) - n, 1)
    types = np.flatnonzero(sizes >= MIN_CELLS)
    return Differences(types, (inside - outside)[types], (seen / np.maximum(n, 1))[types])


def find_markers(counts: str | Path, per_type: int) -> pd.DataFrame:
    """Rank markers on the training cells of a packed count file, in one pass over the counts.

    Returns columns cell_type, gene_id, rank (from 1), difference; at most `per_type` rows per type. A gene is a marker
    of one type only: the one where its difference is largest. Empty when the cells have no labels.
    """
    cells = read_cells(counts)
    empty = pd.DataFrame({"cell_type": [], "gene_id": [], "rank": [], "difference": []})
    if "label" not in cells.obs:
        return empty
    label = cells.obs["label"].astype("category")
    codes = label.cat.codes.to_numpy().copy()
    if "split" in cells.obs:
        codes[(cells.obs["split"] != "train").to_numpy()] = -1
    types, difference, share = differences(counts, cells, codes)
    if len(types) < 2:
        return empty
    difference[share < MIN_SHARE] = -np.inf
    difference[np.arange(len(types))[:, None] != difference.argmax(axis=0)] = -np.inf
    found = []
    for row, code in enumerate(types):
        order = np.argsort(-difference[row], kind="stable")[:per_type]
        best = [g for g in order if difference[row, g] > MIN_DIFFERENCE]
        name, ids = str(label.cat.categories[code]), cells.var.index
        found += [(name, str(ids[g]), rank, float(difference[row, g])) for rank, g in enumerate(best, start=1)]
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
        lognorm = log_normalised(block, library[rows], target_sum)
        sums += (groups @ lognorm).toarray()
        lognorm.data[:] = block.data > 0
        seen += (groups @ lognorm).toarray()
    return sums, seen


def log_normalised(counts: sparse.csr_matrix, library: np.ndarray, target_sum: float) -> sparse.csr_matrix:
    """log1p of counts scaled to `target_sum` per cell; library (n,): the cells' counts over all genes."""
    scale = np.repeat(target_sum / np.maximum(library, 1), np.diff(counts.indptr))
    return sparse.csr_matrix((np.log1p(counts.data * scale), counts.indices, counts.indptr), shape=counts.shape)


def read_marker_list(path: str | Path, symbols: pd.Series, among: str = "of the map") -> pd.DataFrame:
    """Read a table (TSV or CSV) with columns cell_type and gene: symbols or identifiers, best first.

    symbols: gene id -> symbol. Genes that are not among them are skipped; among: how a message calls them. Returns the
    table's columns and gene_id.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, comment="#")
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({' '.join(str(error).split())[:200]}).") from error
    table.columns = [str(c).strip() for c in table.columns]
    if missing := [c for c in ("cell_type", "gene") if c not in table]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.columns) for name in missing))
    table["gene_id"] = table["gene"].str.strip().str.upper().map(genes_by_name(symbols))
    table = table.dropna(subset=["gene_id", "cell_type"])
    if table.empty:
        raise UserError(f"{path}: none of its genes is among the {len(symbols)} genes {among}.")
    return table


def genes_by_name(symbols: pd.Series) -> dict[str, str]:
    """Symbol or id in capitals -> gene id; an id wins over a symbol. symbols: gene id -> symbol."""
    by_name = {str(symbol).upper(): gene for gene, symbol in symbols.items()}
    return by_name | {str(gene).upper(): gene for gene in symbols.index}


def read_markers(path: str | Path, symbols: pd.Series, per_type: int) -> pd.DataFrame:
    """The first `per_type` markers of each type in a table of the user's; a gene stands for the first type it has.

    Columns as in `find_markers`; no differences.
    """
    table = read_marker_list(path, symbols).drop_duplicates("gene_id")
    table["rank"] = table.groupby("cell_type", sort=False).cumcount() + 1
    table["difference"] = np.nan
    return table.loc[table["rank"] <= per_type, ["cell_type", "gene_id", "rank", "difference"]].reset_index(drop=True)
