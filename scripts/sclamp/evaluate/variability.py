"""Whether the genes that vary in a batch still vary after correction (HVG overlap; Luecken et al. 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.data.hvg import rank_dispersions
from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.evaluate.rows import Row

TOP = 500
"""Genes called highly variable in a batch; half of the genes seen there where they are fewer than twice as many."""

FEWEST_CELLS, FEWEST_GENES = 2, 50
"""Batches with fewer cells, or fewer genes with a count, do not count: their variances say nothing."""

_HOW = "scib's hvg_overlap (cell_ranger, top 500 per batch) of expression reconstructed under mean covariates"


def read_variability(path: str | Path) -> pd.DataFrame:
    """The columns of a gene_variability.parquet that are scored."""
    table = read_table(path)
    needed = ["batch", "gene_id", "n", "mean", "variance", "mean_before", "variance_before"]
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.column_names) for name in missing))
    frame: pd.DataFrame = table.select(needed).to_pandas()
    return frame


def score_variability(frame: pd.DataFrame) -> list[Row]:
    """The score hvg_overlap of the task `expression`, over all cells. frame: see `read_variability`."""
    return [Row("all", "expression", measure("hvg_overlap", _HOW, lambda: hvg_overlap(frame)))]


def hvg_overlap(frame: pd.DataFrame) -> float:
    """Share of each batch's highly variable genes that are so after correction too, mean over batches.

    Dispersions are ranked among the genes with a count in the batch; as many genes are chosen after as before.
    """
    if not len(frame):
        raise NotApplicable("the model does not reconstruct expression")
    shares = []
    for _, batch in frame[frame["n"] >= FEWEST_CELLS].groupby("batch", sort=True):
        seen = batch[batch["mean_before"] > 0]
        if len(seen) < FEWEST_GENES:
            continue
        before = _top(seen["gene_id"], seen["mean_before"], seen["variance_before"], min(TOP, len(seen) // 2))
        left = batch[batch["mean"] > 0]
        if not len(left):
            shares.append(0.0)
            continue
        after = _top(left["gene_id"], left["mean"], left["variance"], len(before))
        shares.append(len(before & after) / max(min(len(before), len(after)), 1))
    if not shares:
        raise NotApplicable(f"no batch has {FEWEST_CELLS} cells and {FEWEST_GENES} genes with a count")
    return float(np.mean(shares))


def _top(genes: pd.Series, mean: pd.Series, variance: pd.Series, n: int) -> set[str]:
    ids = genes.to_numpy(dtype=object)
    ranking = rank_dispersions(mean.to_numpy()[None], variance.to_numpy()[None], ids, n, "cell_ranger")
    return set(ids[ranking.selected])
