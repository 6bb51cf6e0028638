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
from sclamp.data import hvg
from sclamp.data.gene_lists import listed_genes
from sclamp.data.h5ad import Cells, CountMap, counts_writer, read_obsm
from sclamp.data.moments import Peaks, Sums, lognorm, one_pass
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
    n_batches, lognorm_mean, lognorm_std (population, of the training cells, 1 for constant genes), umi_share, n_cells.
    Errors: fewer than 50 genes are selected; no batch in which the method works; unknown genes in a list only.
    """
    obs, genes, recipe = cells.obs, counts.n_genes, cells.spec["recipe"]
    library = obs["library_size"].to_numpy(np.float64)
    train = (obs["split"] == TRAIN).to_numpy()
    used = train if settings.cells == "train" else np.ones(len(obs), dtype=bool)
    groups, names = _groups(obs["batch"], used, settings.batch_aware and settings.flavor not in {"all", "list"})
    dispersion_based = settings.flavor in {"seurat", "cell_ranger"}
    with_log = settings.flavor == "cell_ranger"
    per_batch = lognorm(library, recipe["target_sum"], with_log) if dispersion_based else None

    panels = stored(obs, cells.spec, cells.var.index)
    raw = Sums(groups, len(names), genes, per_batch, panels)
    normal = Sums(np.where(train, 0, -1), 1, genes, lognorm(library, recipe["target_sum"], recipe["log1p"]), panels)
    overall = Sums(np.where(used, 0, -1), 1, genes, panels=panels)
    peaks = Peaks(genes)
    one_pass(counts, [raw, normal, overall, peaks], "gene statistics")

    notes: list[str] = []
    if settings.flavor == "all":
        ranking = _all(genes)
    elif settings.flavor == "list":
        ranking = _all(genes, listed_genes(settings, cells.var, notes))
    elif dispersion_based:
        ids = cells.var.index.to_numpy(dtype=object)
        mean, variance, measured_in = raw.mean(), raw.variance(ddof=1), (raw.n > 0).sum(axis=0)
        ranking = hvg.rank_dispersions(mean, variance, ids, settings.n_genes, settings.flavor, measured_in)
    else:
        ranking = _by_variance(counts, raw, groups, names, settings, notes)
    table = _table(
        cells.var, ranking, overall, normal, peaks, "dispersions_norm" if dispersion_based else "variances_norm"
    )
    if (n := int(ranking.selected.sum())) < FEWEST_GENES:
        raise UserError(
            f"gene selection: {n} of {genes} genes are selected, at least {FEWEST_GENES} are needed.", *notes
        )
    return Selection(table, peaks.smallest_type(ranking.selected), notes)


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


def _by_variance(
    counts: CountMap, raw: Sums, groups: np.ndarray, names: list[str], settings: GeneSelection, notes: list[str]
) -> hvg.Ranking:
    """seurat_v3: fit each batch, second pass over clipped counts; batches whose fit fails are left out and noted."""
    mean, variance = raw.mean(), raw.variance(ddof=1)
    trends = [
        hvg.variance_trend(mean[b], variance[b], settings.span) if size > 1 else None
        for b, size in enumerate(raw.sizes)
    ]
    fitted = np.array([trend is not None for trend in trends])
    sized = [f"'{name}' ({size} cells)" for name, size in zip(names, raw.sizes, strict=True)]
    skipped = ", ".join(name for name, ok in zip(sized, fitted, strict=True) if not ok)
    if not fitted.any():
        raise UserError(
            f"gene selection: the local regression of '{settings.flavor}' fails in {skipped}; "
            "use a larger span, batch_aware: false, or another flavor."
        )
    if skipped:
        notes.append(f"gene selection: the local regression fails in {skipped}; these batches do not count.")
    for name, trend in zip(sized, trends, strict=True):
        if trend is not None and trend.jitter:
            shift = f"means shifted by up to {trend.jitter:.0e}"
            notes.append(f"gene selection: the local regression in {name} took {shift}, as many genes share one mean.")
    std = np.stack([np.ones(counts.n_genes) if trend is None else trend.std for trend in trends])
    limits = std * np.sqrt(raw.n) + mean
    used = np.where((groups >= 0) & fitted[groups], groups, -1)
    clips = Sums(used, len(names), counts.n_genes, hvg.clipped(limits, groups))
    one_pass(counts, [clips], "clipped variances")
    with np.errstate(divide="ignore", invalid="ignore"):  # skipped batches only
        scores = hvg.normalized_variance(raw, clips, std)
    return hvg.rank_variances(scores[fitted], settings.n_genes, settings.flavor)


def _table(
    var: pd.DataFrame, ranking: hvg.Ranking, overall: Sums, normal: Sums, peaks: Peaks, score: str
) -> pd.DataFrame:
    mean, variance = normal.mean()[0], normal.variance(ddof=0)[0]
    constant = variance <= 1e-12 * np.maximum(mean**2, 1e-12)  # what rounding leaves of zero
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
            "umi_share": peaks.total / peaks.total.sum(),
            "n_cells": peaks.n_cells,
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
