"""Passes over the counts that collect what scores need of the expression (`Expression`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError
from sclamp.data.h5ad import Cells, CountMap
from sclamp.data.hvg import rank_dispersions
from sclamp.data.moments import Sums, Transform, lognorm, one_pass
from sclamp.data.panels import stored
from sclamp.data.passes import by_cells
from sclamp.evaluate import cell_cycle, scgraph
from sclamp.evaluate.batch_components import component_scores
from sclamp.evaluate.expression import Expression
from sclamp.evaluate.read import HELD_OUT

TOP_OF_BATCH = 500
"""Variable genes named per batch: as many as scib compares."""
TOP_GENES = 100
"""Variable genes whose expression is kept for Moran's I."""
OF_SCGRAPH = 10
"""Principal components of a batch in which scGraph measures distances."""


class Described:
    """The cells of a data set, all their counts and those of the selected genes."""

    def __init__(self, cells: Cells, counts: CountMap, selected: Cells, selected_counts: CountMap) -> None:
        """cells, counts: of all genes. selected, selected_counts: of the selected ones, the same cells in order."""
        self.cells, self.counts, self.selected_counts = cells, counts, selected_counts
        if len(cells.obs) != len(selected.obs) or (cells.obs.index != selected.obs.index).any():
            raise UserError(f"{selected_counts.path}: its cells are not those of {counts.path}.")
        self.genes = cells.var.index.to_numpy(dtype=object)
        self.of_selected = cells.var.index.get_indexer(selected.var.index)
        if (self.of_selected < 0).any():
            absent = selected.var.index[self.of_selected < 0][0]
            raise UserError(f"{selected_counts.path}: gene '{absent}' is not among those of {counts.path}.")
        self.batch_names, self.batches = _codes(cells.obs["batch"])
        self.held_out = cells.obs["split"].isin(HELD_OUT).to_numpy() if "split" in cells.obs else None
        recipe = cells.spec["recipe"]
        self.normal: Transform = lognorm(cells.obs["library_size"].to_numpy(), recipe["target_sum"], recipe["log1p"])


def describe(data: Described) -> tuple[Expression, dict[str, Any]]:
    """Read all counts twice and those of the selected genes once per batch; cells without a batch count in none.

    Returns the ingredients, and what the JSON says besides: organism, cell-cycle genes, variable genes of each batch
    ("variable_genes") and of all ("top_genes"), best first.
    """
    panels = stored(data.cells.obs, data.cells.spec, data.genes)
    sums = Sums(data.batches, len(data.batch_names), data.counts.n_genes, data.normal, panels)
    one_pass(data.counts, [sums], "expression per batch")
    variable, top = _variable_genes(data, sums)
    symbols = data.cells.var.get("symbol", data.cells.var.index)
    genes = cell_cycle.find_cycle_genes(np.asarray(symbols, dtype=object))
    reasons = {"cell_cycle": genes.reason} if genes.reason else {}
    cycle, values = _per_cell(data, sums, genes, top)
    share, agreed = _per_batch(data, None if genes.reason else cycle)
    if agreed is None:
        reasons["scgraph"] = (
            f"no batch has {scgraph.LEAST_OF_BATCH} cells" if "label" in data.cells.obs else "no label column"
        )
    more = {
        "organism": "" if genes.reason else genes.organism,
        "s_genes": [str(data.genes[g]) for g in genes.s],
        "g2m_genes": [str(data.genes[g]) for g in genes.g2m],
        "variable_genes": variable,
        "top_genes": [str(data.genes[g]) for g in top],
    }
    return Expression(None if genes.reason else cycle, share, values, agreed, reasons), more


def _codes(column: pd.Series) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the categories that occur, and codes, -1 where missing."""
    known = column.astype("category").cat.remove_unused_categories().cat
    return tuple(map(str, known.categories)), known.codes.to_numpy().astype(np.int64)


def _variable_genes(data: Described, sums: Sums) -> tuple[dict[str, list[str]], np.ndarray]:
    """The most variable selected genes of each batch, by name, and of all batches together, as positions.

    By normalised dispersion of log-normalised expression (flavor cell_ranger), as scib's HVG overlap.
    """
    several = np.flatnonzero(sums.sizes > 1)
    ids = data.genes[data.of_selected]
    if not len(several):
        return {}, np.empty(0, np.int64)
    mean, variance = (m[np.ix_(several, data.of_selected)] for m in (sums.mean(), sums.variance(ddof=1)))
    by_batch = {}
    for row, batch in enumerate(several):
        ranking = rank_dispersions(mean[[row]], variance[[row]], ids, TOP_OF_BATCH, "cell_ranger")
        by_batch[data.batch_names[batch]] = [str(g) for g in ids[ranking.order[:TOP_OF_BATCH]]]
    measured = np.broadcast_to(sums.n > 0, sums.total.shape)[np.ix_(several, data.of_selected)]
    overall = rank_dispersions(mean, variance, ids, TOP_GENES, "cell_ranger", measured)
    return by_batch, data.of_selected[overall.order[:TOP_GENES]]


def _per_cell(
    data: Described, sums: Sums, genes: cell_cycle.CycleGenes, top: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of S and G2/M phase (n, 2), NaN without a batch, and expression (n, t) of the top genes, in one pass.

    Scores are made batch by batch, as scib makes them: control genes are alike in the batch's mean expression.
    """
    n_cells, n_genes = data.counts.shape
    weights = np.zeros((2, len(data.batch_names), n_genes))
    if not genes.reason:
        n_control = min(len(genes.s), len(genes.g2m))
        for batch, mean in enumerate(sums.mean()):
            for phase, members in enumerate((genes.s, genes.g2m)):
                weights[phase, batch] = cell_cycle.score_weights(mean, members, n_control)
    column = np.full(n_genes, -1)
    column[top] = np.arange(len(top))
    cycle, values = np.zeros((n_cells, 2)), np.zeros((n_cells, len(top)), np.float32)
    for rows, block in by_cells(data.counts.blocks(), n_cells, "expression per cell"):
        cells, of_genes = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr)), block.indices
        stored = data.normal(block.data.astype(np.float64), cells, of_genes)
        for phase in range(2):
            parts = stored * weights[phase, data.batches[cells], of_genes]
            cycle[rows, phase] = np.bincount(cells - rows.start, parts, rows.stop - rows.start)
        kept = column[of_genes] >= 0
        values[cells[kept], column[of_genes[kept]]] = stored[kept]
    cycle[data.batches < 0] = np.nan
    return cycle, values


def _per_batch(
    data: Described, cycle: np.ndarray | None
) -> tuple[dict[str, dict[str, float]], scgraph.Consensus | None]:
    """What principal components of each batch say: the share of variance of the cell cycle, distances of labels."""
    share: dict[str, dict[str, float]] = {"all": {}, "held_out": {}}
    names, labels = _codes(data.cells.obs["label"]) if "label" in data.cells.obs else ((), np.empty(0, np.int64))
    large = np.bincount(labels[labels >= 0], minlength=len(names)) >= scgraph.LEAST_OF_LABEL
    distances: dict[str, np.ndarray] = {}
    for code, batch in enumerate(data.batch_names):
        rows = np.flatnonzero(data.batches == code)
        scores = component_scores(data.selected_counts, rows, data.normal)
        if scores is None:
            continue
        if cycle is not None:
            share["all"][batch] = _explained(scores, cycle[rows])
            apart = rows[data.held_out[rows]] if data.held_out is not None else rows[:0]
            if (own := component_scores(data.selected_counts, apart, data.normal)) is not None:
                share["held_out"][batch] = _explained(own, cycle[apart])
        if large.any() and len(rows) >= scgraph.LEAST_OF_BATCH:
            used = labels[rows] >= 0
            used[used] = large[labels[rows][used]]
            centres = scgraph.trimmed_means(scores[used, :OF_SCGRAPH], labels[rows][used], len(names))
            distances[batch] = scgraph.relative_distances(centres)
    return share, scgraph.consensus(distances, names) if distances else None


def _explained(scores: np.ndarray, cycle: np.ndarray) -> float:
    share = cell_cycle.explained_share(scores, cycle).value
    return 0.0 if np.isnan(share) else share
