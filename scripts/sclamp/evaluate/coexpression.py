"""Do genes that lie together vary together? Gene embedding against co-expression in held-out cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sclamp.data.h5ad import Cells, CountMap
from sclamp.data.panels import stored
from sclamp.evaluate.gene_markers import log_normalised
from sclamp.evaluate.gene_ranks import spearman
from sclamp.evaluate.gene_vectors import GeneVectors
from sclamp.evaluate.measure import NotApplicable, Unscorable, measure
from sclamp.evaluate.rows import Row

MOST_GENES = 2000
"""Genes whose pairs are all compared: 2 million pairs. Of more genes a seeded sample is taken."""
NEIGHBORS = 10
CELLS_AT_ONCE = 4096


def correlations(
    path: str | Path, cells: Cells, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation of genes' log-normalised expression over some cells, in one pass over the counts.

    rows (n,) bool: cells. columns (g,): genes of the file. Returns the (g, g) matrix and a mask (g,) of the genes that
    vary, and that all these cells were measured for; the others have correlation 0. Scaling each gene by its mean and
    standard deviation changes nothing here.
    """
    counts, library = CountMap(path), cells.obs["library_size"].to_numpy(dtype=np.float64)
    target = cells.spec["recipe"]["target_sum"]
    total, products = np.zeros(len(columns)), np.zeros((len(columns), len(columns)))
    for start in range(0, counts.n_cells, CELLS_AT_ONCE):
        part = slice(start, min(start + CELLS_AT_ONCE, counts.n_cells))
        if not rows[part].any():
            continue
        x = log_normalised(counts.rows(part), library[part], target)[np.flatnonzero(rows[part])][:, columns].toarray()
        total += x.sum(axis=0)
        products += x.T @ x
    n = int(rows.sum())
    covariance = products - np.outer(total, total) / max(n, 1)
    variance = covariance.diagonal()
    # What is left of a constant gene is rounding, a tiny part of its sum of squares.
    varies = variance > 1e-12 * products.diagonal()
    if (panels := stored(cells.obs, cells.spec, cells.var.index)) is not None:
        varies &= panels.measured[np.unique(panels.of_cell[rows])].all(axis=0)[columns]
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
    return covariance * scale[:, None] * scale, varies


@dataclass
class CoExpression:
    """genes: the embedding. counts: packed count file, and what `read_cells` read from it. held_out: mask of cells."""

    genes: GeneVectors
    counts: str | Path
    cells: Cells
    held_out: np.ndarray
    seed: int

    @cached_property
    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the compared genes (g,), cosines of their vectors and correlations of their expression, each (g, g)."""
        unit = self.genes.unit
        if (n := int(self.held_out.sum())) < 3:
            raise NotApplicable(f"{n} cells are held out: at least 3 are needed")
        chosen = np.arange(len(unit))
        if len(chosen) > MOST_GENES:
            chosen = np.sort(np.random.default_rng(self.seed).permutation(chosen)[:MOST_GENES])
        columns = self.cells.var.index.get_indexer(self.genes.ids[chosen])
        correlation, varies = correlations(self.counts, self.cells, self.held_out, columns)
        if varies.sum() < NEIGHBORS + 2:
            raise NotApplicable(
                f"{varies.sum()} genes vary among the held-out cells: at least {NEIGHBORS + 2} are needed"
            )
        points = unit[chosen[varies]]
        return points @ points.T, correlation[np.ix_(varies, varies)]

    def agreement(self) -> float:
        """Rank correlation over all pairs of genes."""
        cosine, correlation = self.compared
        pairs = np.triu_indices(len(cosine), 1)
        return spearman(cosine[pairs], correlation[pairs])

    def shared_neighbors(self) -> float:
        """Mean share of a gene's nearest genes in the embedding that are among its nearest in expression."""
        near, true = (_nearest(matrix) for matrix in self.compared)
        return float((near & true).sum() / near.sum())

    def chance(self) -> float:
        """What `shared_neighbors` is for an embedding that knows nothing."""
        return NEIGHBORS / (len(self.compared[0]) - 1)


def _nearest(similarity: np.ndarray) -> np.ndarray:
    """Mask (g, g) of the NEIGHBORS most similar others of each gene; of equals the first."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    mask = np.zeros(others.shape, bool)
    np.put_along_axis(mask, np.argsort(-others, axis=1, kind="stable")[:, :NEIGHBORS], True, axis=1)
    return mask


def score_coexpression(pairs: CoExpression) -> list[Row]:
    """Scores coexpression_spearman and coexpression_neighbors."""
    truth = "Pearson correlation of log-normalised expression in held-out cells"
    of = f"; {MOST_GENES} genes sampled" if len(pairs.genes) > MOST_GENES else ""
    try:
        chance = f"; by chance {pairs.chance():.3g}"
    except (NotApplicable, Unscorable):  # the rows say why
        chance = ""
    agreement = f"Spearman over pairs of genes: cosine against {truth}{of}"
    shared = f"share of the {NEIGHBORS} nearest genes by cosine among those by {truth}{of}{chance}"
    return [
        Row("held_out", "genes", measure("coexpression_spearman", agreement, pairs.agreement)),
        Row("held_out", "genes", measure("coexpression_neighbors", shared, pairs.shared_neighbors)),
    ]
