"""Gene selections: which genes, their statistics, and their counts packed for training."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.data import hvg, rankings
from sclamp.data.gene_lists import listed_genes
from sclamp.data.h5ad import Cells, CountMap, counts_writer, read_obsm
from sclamp.data.moments import Moments, Sums, lognorm, one_pass
from sclamp.data.panels import stored
from sclamp.data.passes import by_cells
from sclamp.data.prepare import FEWEST_GENES
from sclamp.data.splits import TRAIN


@dataclass
class Selection:
    """What was selected.

    table: one row per gene (see `select_genes`). packed_type: integer type for the selected counts. notes: what the
    user should know, such as batches that were skipped.
    """

    table: pd.DataFrame
    packed_type: type[np.unsignedinteger]
    notes: list[str] = field(default_factory=list)

    @property
    def selected(self) -> np.ndarray:
        """Mask of the selected genes."""
        return self.table["selected"].to_numpy()


def select_genes(counts: CountMap, cells: Cells, settings: GeneSelection) -> Selection:
    """Choose genes in one or two passes over the counts.

    The table has the columns gene_id, symbol, selected, rank, means, variances, variances_norm (or dispersions_norm),
    n_batches, lognorm_mean, lognorm_std (population, of the training cells, 1 for constant genes), umi_share, n_cells,
    and selected_N, rank_N, n_batches_N for each of `further_n_genes`.
    Errors: fewer than 50 genes are selected; no batch in which the method works; unknown genes in a list only.
    """
    obs, genes, recipe = cells.obs, counts.n_genes, cells.spec["recipe"]
    library = obs["library_size"].to_numpy(np.float64)
    train = (obs["split"] == TRAIN).to_numpy()
    used = train if settings.cells == "train" else np.ones(len(obs), dtype=bool)
    by_dispersion = settings.flavor in {"seurat", "cell_ranger"}
    groups, names = _groups(obs["batch"], used, settings.batch_aware and settings.variable)
    panels = stored(obs, cells.spec, cells.var.index)

    n = len(names)
    everything = Sums(np.where(used, groups, n), n + 1, genes, panels=panels)  # the last group: cells not used
    normal = Sums(np.where(train, 0, -1), 1, genes, lognorm(library, recipe["target_sum"], recipe["log1p"]), panels)
    expression = Sums(
        groups if by_dispersion else np.full(len(obs), -1),
        n,
        genes,
        lognorm(library, recipe["target_sum"], settings.flavor == "cell_ranger"),
        panels,
    )
    one_pass(counts, [everything, normal, *([expression] if by_dispersion else [])], "gene statistics")

    notes: list[str] = []
    raw = everything.of(slice(0, n))
    if by_dispersion:
        ids = cells.var.index.to_numpy(dtype=object)
        found = rankings.by_dispersion(expression, ids, names, settings, notes)
    elif settings.variable:
        found = rankings.by_variance(counts, raw, groups, names, settings, notes)
    else:
        listed = listed_genes(settings, cells.var, notes) if settings.flavor == "list" else None
        found = {settings.n_genes: _all(genes, listed)}
    score = "dispersions_norm" if by_dispersion else "variances_norm"
    table = _table(cells.var, found, raw.pooled(), normal, everything.pooled(), score)
    selected = table["selected"].to_numpy()
    if (few := int(selected.sum())) < FEWEST_GENES:
        raise UserError(
            f"gene selection: {few} of {genes} genes are selected, at least {FEWEST_GENES} are needed.", *notes
        )
    return Selection(table, everything.smallest_type(selected), notes)


def _groups(batch: pd.Series, used: np.ndarray, batch_aware: bool) -> tuple[np.ndarray, list[str]]:
    """Group of each cell (-1: not used) and the groups' names; one group where batches are not told apart."""
    if not batch_aware:
        return np.where(used, 0, -1), ["all cells"]
    names = sorted(batch[used].astype(str).unique())
    codes = pd.Index(names).get_indexer(batch.astype(str))
    return np.where(used, codes, -1), names


def _all(genes: int, selected: np.ndarray | None = None) -> hvg.Ranking:
    nothing = np.full(genes, np.nan)
    mask = np.ones(genes, dtype=bool) if selected is None else selected
    return hvg.Ranking(nothing, nothing.astype(np.float32), np.zeros(genes, np.int64), np.arange(genes), mask)


def _table(
    var: pd.DataFrame,
    found: rankings.Rankings,
    overall: Moments,
    normal: Moments,
    everything: Moments,
    score: str,
) -> pd.DataFrame:
    mean, variance = normal.mean()[0], normal.variance(ddof=0)[0]
    constant = variance <= 1e-12 * np.maximum(mean**2, 1e-12)  # what rounding leaves of zero
    ranking, *others = found.values()
    further = [
        {f"selected_{n}": ranking.selected, f"rank_{n}": ranking.rank, f"n_batches_{n}": ranking.n_batches}
        for n, ranking in zip(list(found)[1:], others, strict=True)
    ]
    return pd.DataFrame(
        {
            "gene_id": var.index.to_numpy(dtype=object),
            "symbol": var["symbol"].astype(object).to_numpy(),
            "selected": ranking.selected,
            "rank": ranking.rank,
            "means": overall.mean()[0],
            "variances": overall.variance(ddof=1)[0],
            score: ranking.score,
            "n_batches": ranking.n_batches,
            "lognorm_mean": mean,
            "lognorm_std": np.where(constant, 1.0, np.sqrt(np.maximum(variance, 0.0))),
            "umi_share": everything.total[0] / everything.total.sum(),
            "n_cells": everything.n_nonzero[0],
            **{name: values for columns in further for name, values in columns.items()},
        }
    )


def write_selection(
    selection: Selection, counts: CountMap, cells: Cells, table: Path, packed: Path, provenance: dict[str, Any]
) -> None:
    """Write the statistics (Parquet) and the selected genes' counts (.h5ad, smallest integer types)."""
    rows = selection.table[selection.selected]
    var = rows.set_index("gene_id")[["symbol", "lognorm_mean", "lognorm_std"]].rename_axis(None)
    index_type = np.uint16 if len(var) <= 2**16 else np.uint32
    places = np.where(selection.selected, np.cumsum(selection.selected) - 1, -1).astype(np.int32)
    uns = {"spec": cells.spec, "provenance": provenance}
    with counts_writer(
        packed,
        cells.obs,
        var,
        int(rows["n_cells"].sum()),
        selection.packed_type,
        index_type,
        read_obsm(counts.path),
        uns,
    ) as writer:
        for _, block in by_cells(counts.blocks(), counts.n_cells, f"packing {packed}"):
            moved = places[block.indices]
            kept = moved >= 0
            pointers = np.concatenate([[0], np.cumsum(kept)])[block.indptr]
            writer.append_arrays(block.data[kept], moved[kept], pointers)
    write_table(table, selection.table, provenance)


def summary(selection: Selection, settings: GeneSelection) -> str:
    """What was chosen, in a line or two."""
    rows = selection.table[selection.selected]
    kind = np.dtype(selection.packed_type).name
    lines = [
        f"selected {len(rows)} of {len(selection.table)} genes by '{settings.flavor}' "
        f"with {rows['umi_share'].sum():.1%} of all counts; packed as {kind}"
    ]
    return "\n".join([*lines, *selection.notes])


def report(selection: Selection, settings: GeneSelection) -> None:
    """Print the summary to the log."""
    print(summary(selection, settings), file=sys.stderr)
