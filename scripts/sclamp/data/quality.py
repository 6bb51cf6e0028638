"""Quality control: one pass over the counts that measures cells and genes and says which stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sclamp.config.datasets import QualityControl
from sclamp.data.counts import CountVerdict
from sclamp.data.passes import by_cells
from sclamp.data.sources import Source


@dataclass(frozen=True)
class Survey:
    """Measurements of all cells (n,) and genes (g,) of a source, and which pass the thresholds.

    library_size, n_genes_seen, mito_share: per cell, over all genes of the file. keep_cells: mask.
    n_cells_seen, total_counts: per gene, over the cells that stay. keep_genes: mask. verdict: are these counts?
    dropped: threshold -> number of cells or genes that fail it.
    """

    library_size: np.ndarray
    n_genes_seen: np.ndarray
    mito_share: np.ndarray
    keep_cells: np.ndarray
    n_cells_seen: np.ndarray
    total_counts: np.ndarray
    keep_genes: np.ndarray
    verdict: CountVerdict
    dropped: dict[str, int]

    @property
    def nonzeros(self) -> int:
        """Stored counts of the cells and genes that stay."""
        return int(self.n_cells_seen[self.keep_genes].sum())


def survey(source: Source, mitochondrial: np.ndarray, quality: QualityControl) -> Survey:
    """Measure cells and genes in one pass; mitochondrial: mask of genes (g,).

    Cells are judged on all genes of the file, genes on the cells that stay, so one pass is enough.
    """
    n_cells, n_genes = source.shape
    library, seen, mito = np.zeros(n_cells), np.zeros(n_cells, dtype=np.int64), np.zeros(n_cells)
    cells_seen, totals = np.zeros(n_genes, dtype=np.int64), np.zeros(n_genes)
    keep = np.zeros(n_cells, dtype=bool)
    verdict, dropped, row = CountVerdict(), dict[str, int](), 0
    for block in by_cells(source.blocks(), n_cells, f"reading {source.name}"):
        verdict.add(block)
        cells = slice(row, row + block.shape[0])
        row = cells.stop
        counts = block.astype(np.float64)
        library[cells] = np.asarray(counts.sum(axis=1)).ravel()
        seen[cells] = np.diff(block.indptr)
        mito[cells] = counts @ mitochondrial.astype(np.float64)
        share = mito[cells] / np.maximum(library[cells], 1.0)
        failed = cell_failures(library[cells], seen[cells], share, quality)
        for threshold, mask in failed.items():
            dropped[threshold] = dropped.get(threshold, 0) + int(mask.sum())
        keep[cells] = ~np.any(list(failed.values()), axis=0)
        kept = counts[keep[cells]]
        cells_seen += np.bincount(kept.indices, minlength=n_genes)
        totals += np.bincount(kept.indices, weights=kept.data, minlength=n_genes)
    keep_genes = cells_seen >= max(quality.min_cells, 0)
    dropped["min_cells"] = int((~keep_genes).sum())
    share = mito / np.maximum(library, 1.0)
    return Survey(library, seen, share, keep, cells_seen, totals, keep_genes, verdict, dropped)


def cell_failures(
    library_size: np.ndarray, n_genes_seen: np.ndarray, mito_share: np.ndarray, quality: QualityControl
) -> dict[str, np.ndarray]:
    """Threshold -> mask of the cells that fail it."""
    failed = {"min_counts": library_size < quality.min_counts, "min_genes": n_genes_seen < quality.min_genes}
    if quality.max_genes is not None:
        failed["max_genes"] = n_genes_seen > quality.max_genes
    if quality.max_mito_share is not None:
        failed["max_mito_share"] = mito_share > quality.max_mito_share
    return failed
