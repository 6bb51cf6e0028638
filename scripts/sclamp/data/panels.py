"""Gene panels: which genes each cell was measured for.

Files that are joined with all their genes differ in what was measured. A count of a gene off a cell's panel is not
zero, it is unknown: such entries are left out of statistics, of likelihoods and of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError


class Panels(NamedTuple):
    """Which genes each cell was measured for.

    names (p,): of the panels. of_cell (n,) int64: position of each cell's panel. measured (p, g) bool: genes on it.
    """

    names: tuple[str, ...]
    of_cell: np.ndarray
    measured: np.ndarray

    def take(self, cells: np.ndarray, genes: np.ndarray) -> Panels | None:
        """The same for some cells and genes (masks), without panels that no cell is left of.

        None where all that are left share all genes.
        """
        used, of_cell = np.unique(self.of_cell[cells], return_inverse=True)
        measured = self.measured[used][:, genes]
        if measured.all():
            return None
        return Panels(tuple(self.names[p] for p in used), of_cell.astype(np.int64), measured)

    def lacking(self, genes: Sequence[str]) -> dict[str, list[str]]:
        """Panel -> ids of the genes (all in order: genes) that it lacks; what files store, see `stored`."""
        ids = np.asarray(genes, dtype=object)
        return {name: ids[~row].tolist() for name, row in zip(self.names, self.measured, strict=True)}

    def cells_with(self, groups: np.ndarray, n_groups: int) -> np.ndarray:
        """Cells of each group that were measured for each gene, (groups, genes); group -1 is left out."""
        used = groups >= 0
        pairs = groups[used] * len(self.names) + self.of_cell[used]
        sizes = np.bincount(pairs, minlength=n_groups * len(self.names)).reshape(n_groups, -1)
        return sizes @ self.measured.astype(np.int64)


def stored(obs: pd.DataFrame, spec: dict[str, Any], genes: Sequence[str]) -> Panels | None:
    """The panels of a prepared file among these genes: obs column `panel`, and spec["panels"] (see `Panels.lacking`).

    None where every cell was measured for all of them.
    """
    lacking: dict[str, list[str]] | None = spec.get("panels")
    if not lacking:
        return None
    ids = pd.Index(genes, dtype=object)
    measured = np.stack([~ids.isin(lacks) for lacks in lacking.values()])
    if measured.all():
        return None
    of_cell = pd.Index(list(lacking), dtype=object).get_indexer(obs["panel"].astype(str).astype(object))
    if (of_cell < 0).any():
        other = obs["panel"].astype(str)[of_cell < 0].iloc[0]
        known = ", ".join(lacking)
        raise UserError(f"panel: obs has the gene panel '{other}', the file describes {known}; prepare it anew.")
    return Panels(tuple(lacking), of_cell.astype(np.int64), measured)


def distinct(names: Sequence[str], rows: np.ndarray, n_cells: Sequence[int]) -> Panels | None:
    """Panels of files (names (f,)) with n_cells (f,) each that have the genes rows (f, g) bool.

    Files of the same genes share a panel, named after the first of them. None where all files have all genes.
    """
    if rows.all():
        return None
    first, panel_of = dict[bytes, int](), []
    kept: list[int] = []
    for i, row in enumerate(rows):
        if row.tobytes() not in first:
            first[row.tobytes()] = len(kept)
            kept.append(i)
        panel_of.append(first[row.tobytes()])
    of_cell = np.repeat(np.array(panel_of, dtype=np.int64), n_cells)
    return Panels(tuple(names[i] for i in kept), of_cell, rows[kept])
