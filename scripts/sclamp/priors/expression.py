"""Gene vectors from the training cells' expression: a prior without outside knowledge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import linalg

from sclamp.core.errors import UserError
from sclamp.data.h5ad import Cells, CountMap, read_cells
from sclamp.data.panels import stored
from sclamp.types import Recipe

BLOCK_VALUES = 8_000_000
"""Dense values held at a time."""


def expression_vectors(counts_path: str | Path, width: int) -> tuple[list[str], np.ndarray]:
    """Ids (g) and vectors (g, width) float32 of the genes of a selection's counts.

    With X the scaled expression of the n training cells (z-scores of log-normalised counts, clipped, by the recipe and
    the means and deviations stored with the genes; 0 for genes that a cell was not measured for) and X = U S V', gene
    vectors are V S / sqrt(n): their inner products approximate the correlation of genes. Reads the cells once, in
    blocks; memory grows with genes squared.
    """
    cells, counts = read_cells(counts_path), CountMap(counts_path)
    train = (cells.obs["split"] == "train").to_numpy()
    if not train.any():
        raise UserError(f"{counts_path}: no cell is in the split 'train'; a prior from expression needs some.")
    second, panels = np.zeros((counts.n_genes, counts.n_genes)), stored(cells.obs, cells.spec, cells.var.index)
    step = max(1, BLOCK_VALUES // max(counts.n_genes, 1))
    for block in _row_slices(counts.n_cells, step):
        scaled = _scaled(cells, counts, block)[train[block]]
        if panels is not None:
            scaled[~panels.measured[panels.of_cell[block][train[block]]]] = 0
        second += scaled.T @ scaled
    kept = min(width, counts.n_genes, int(train.sum()))
    squares, axes = linalg.eigh(second / train.sum(), subset_by_index=[counts.n_genes - kept, counts.n_genes - 1])
    vectors = (axes * np.sqrt(np.clip(squares, 0, None)))[:, ::-1]
    strongest = np.abs(vectors).argmax(axis=0)
    vectors *= np.sign(vectors[strongest, np.arange(kept)])  # the sign of a singular vector is arbitrary: fix it
    return list(cells.var.index), vectors.astype(np.float32)


def _row_slices(n_rows: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _scaled(cells: Cells, counts: CountMap, block: slice) -> np.ndarray:
    """Scaled expression (cells, genes) of a block of cells, by the recipe in the file."""
    recipe = Recipe(**cells.spec["recipe"])
    size = np.maximum(cells.obs["library_size"].to_numpy()[block].astype(np.float64), 1)
    values = counts.rows(block).toarray() / size[:, None] * recipe.target_sum
    if recipe.log1p:
        values = np.log1p(values)
    deviation = cells.var["lognorm_std"].to_numpy(dtype=np.float64)
    values = (values - cells.var["lognorm_mean"].to_numpy(dtype=np.float64)) / np.where(deviation > 0, deviation, 1)
    return values if recipe.clip is None else np.clip(values, -recipe.clip, recipe.clip)
