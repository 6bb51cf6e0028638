"""The genes that a data set selects, as the workflow's table names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.priors.names import OTHER_IDS, GeneNames


@dataclass(frozen=True)
class SelectedGenes:
    """The selected genes of a data set, in the order of its counts: names, and each gene's share of all counts."""

    names: GeneNames
    umi_share: np.ndarray


def read_selection(path: str | Path) -> SelectedGenes:
    """Read the selected rows of genes/{selection}.parquet."""
    table = read_table(path)
    needed = ("gene_id", "selected", "umi_share")
    missing = [column for column in needed if column not in table.column_names]
    if missing:
        raise UserError(*(f"{path}: " + unknown("column", column, table.column_names) for column in missing))
    table = table.filter(table["selected"])
    other = {c: [v or "" for v in table[c].to_pylist()] for c in OTHER_IDS if c in table.column_names}
    names = GeneNames(table["gene_id"].to_pylist(), other.get("symbol", ()), other.get("ensembl", ()))
    if not len(names):
        raise UserError(f"{path}: no gene is selected.")
    return SelectedGenes(names, table["umi_share"].to_numpy().astype(np.float64))
