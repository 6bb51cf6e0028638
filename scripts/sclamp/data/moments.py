"""Sums over cells, per gene and group, in streaming passes: memory grows with genes and groups, not with cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sclamp.data.h5ad import CountMap
from sclamp.data.panels import Panels
from sclamp.data.passes import by_cells

Transform = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(stored counts as float64, their cells, their genes) -> values; a count of zero must stay zero."""


class Sums:
    """Sums and sums of squares of transformed counts, per group of cells and gene.

    total, squares: (groups, genes) float64. sizes: (groups,) cells. n: cells that were measured for each gene, (groups,
    genes), or (groups, 1) where all were. A gene that no cell was measured for has mean and variance 0.
    """

    def __init__(
        self,
        groups: np.ndarray,
        n_groups: int,
        n_genes: int,
        transform: Transform | None = None,
        panels: Panels | None = None,
    ) -> None:
        """groups: (cells,) group of each cell, -1 for cells that are left out. transform: None takes the counts."""
        self._groups, self._transform = groups, transform
        self.sizes = np.bincount(groups[groups >= 0], minlength=n_groups)
        self.n = self.sizes[:, None] if panels is None else panels.cells_with(groups, n_groups)
        self.total = np.zeros((n_groups, n_genes))
        self.squares = np.zeros((n_groups, n_genes))

    def add(self, values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> None:
        """Add stored counts: values (float64), and the cell and gene of each."""
        groups = self._groups[cells]
        if (groups < 0).any():
            used = groups >= 0
            values, cells, genes, groups = values[used], cells[used], genes[used], groups[used]
        if self._transform is not None:
            values = self._transform(values, cells, genes)
        flat = groups.astype(np.int64) * self.total.shape[1] + genes
        # bincount adds up in the order of the cells, so that equal inputs give equal sums to the last bit.
        self.total += np.bincount(flat, values, self.total.size).reshape(self.total.shape)
        self.squares += np.bincount(flat, values * values, self.total.size).reshape(self.total.shape)

    def mean(self) -> np.ndarray:
        """Means (groups, genes)."""
        return self.total / np.maximum(self.n, 1)

    def variance(self, ddof: int) -> np.ndarray:
        """Variances (groups, genes); groups of `ddof` cells or fewer have the biased one."""
        n = np.maximum(self.n, 1).astype(np.float64)
        return (self.squares / n - self.mean() ** 2) * np.where(n > ddof, n / np.maximum(n - ddof, 1), 1.0)


class Peaks:
    """Largest count of each gene, as far as the choice of an integer type needs it, and the number of its counts."""

    def __init__(self, n_genes: int) -> None:
        self.n_cells = np.zeros(n_genes, dtype=np.int64)
        self.total = np.zeros(n_genes)
        self._above = {np.iinfo(kind).max: np.zeros(n_genes, dtype=bool) for kind in (np.uint8, np.uint16)}

    def add(self, values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> None:
        """Add stored counts."""
        self.n_cells += np.bincount(genes, minlength=len(self.n_cells))
        self.total += np.bincount(genes, values, len(self.total))
        for limit, above in self._above.items():
            above[genes[values > limit]] = True

    def smallest_type(self, selected: np.ndarray) -> type[np.unsignedinteger]:
        """The smallest unsigned type that holds all counts of the selected genes (a mask)."""
        over = [bool((above & selected).any()) for above in self._above.values()]
        return np.uint32 if over[1] else np.uint16 if over[0] else np.uint8


def one_pass(counts: CountMap, accumulators: Sequence[Sums | Peaks], what: str) -> None:
    """Stream all counts once through several accumulators; what: shown with the progress."""
    for rows, block in by_cells(counts.blocks(), counts.n_cells, what):
        cells = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
        values, genes = block.data.astype(np.float64), block.indices
        for accumulator in accumulators:
            accumulator.add(values, cells, genes)


def lognorm(library_size: np.ndarray, target_sum: float, log1p: bool = True) -> Transform:
    """Counts / library_size * target_sum, then log(1 + x) where asked for; library_size (cells,), 0 is read as 1."""
    factors = target_sum / np.where(library_size > 0, library_size, 1.0).astype(np.float64)

    def transform(values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
        scaled = values * factors[cells]
        return np.log1p(scaled) if log1p else scaled

    return transform
