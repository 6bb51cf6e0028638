"""Sums over cells, per gene and group, in streaming passes: memory grows with genes and groups, not with cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sclamp.data.h5ad import CountMap, row_blocks
from sclamp.data.panels import Panels
from sclamp.data.passes import by_cells

COMPILED_ABOVE = 10_000_000
"""Stored counts above which compiled loops save more than the half second that it takes to load them."""
_ROWS_IN_CACHE = 64  # so that the second accumulator finds the counts that the first has read

Transform = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(stored counts as float64, their cells, their genes) -> values; a count of zero must stay zero."""


@dataclass(frozen=True)
class LogNorm:
    """Transform: count x factor of its cell (cells,), then log(1 + that) where asked for."""

    factors: np.ndarray
    log1p: bool

    def __call__(self, values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        scaled = values * self.factors[cells]
        return np.log1p(scaled) if self.log1p else scaled


@dataclass(frozen=True)
class Clipped:
    """Transform: counts no larger than the limit (groups, genes) of their cell's group (cells,) and gene."""

    limits: np.ndarray
    groups: np.ndarray

    def __call__(self, values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """See `Transform`."""
        return np.minimum(values, self.limits[self.groups[cells], genes])


def lognorm(library_size: np.ndarray, target_sum: float, log1p: bool = True) -> LogNorm:
    """Counts / library_size * target_sum, then log(1 + x) where asked for; library_size (cells,), 0 is read as 1."""
    return LogNorm(target_sum / np.where(library_size > 0, library_size, 1.0).astype(np.float64), log1p)


@dataclass(eq=False)
class Moments:
    """Sums of values and of their squares per group of cells and gene.

    table: (groups, genes, 2 or 3) float64: sums, sums of squares, and of counts also how many are not zero. n: cells
    that were measured for each gene, (groups, genes), or (groups, 1) where all were. A gene that no cell was measured
    for has mean and variance 0.
    """

    table: np.ndarray
    n: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Sums (groups, genes)."""
        return self.table[..., 0]

    @property
    def squares(self) -> np.ndarray:
        """Sums of squares (groups, genes)."""
        return self.table[..., 1]

    @property
    def n_nonzero(self) -> np.ndarray:
        """Counts that are not zero (groups, genes), int64."""
        return self.table[..., 2].astype(np.int64)

    def mean(self) -> np.ndarray:
        """Means (groups, genes)."""
        return self.total / np.maximum(self.n, 1)

    def variance(self, ddof: int) -> np.ndarray:
        """Variances (groups, genes); groups of `ddof` cells or fewer have the biased one."""
        n = np.maximum(self.n, 1).astype(np.float64)
        return (self.squares / n - self.mean() ** 2) * np.where(n > ddof, n / np.maximum(n - ddof, 1), 1.0)

    def of(self, groups: slice) -> Moments:
        """Some of the groups."""
        return Moments(self.table[groups], self.n[groups])

    def pooled(self) -> Moments:
        """All groups as one."""
        return Moments(self.table.sum(axis=0, keepdims=True), self.n.sum(axis=0, keepdims=True))


class Sums(Moments):
    """Moments of transformed counts, while they are added up.

    sizes: (groups,) cells. largest: (genes,) of the counts without transform, where above 255, else 0.
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
        n = self.sizes[:, None] if panels is None else panels.cells_with(groups, n_groups)
        super().__init__(np.zeros((n_groups, n_genes, 3 if transform is None else 2)), n)
        self.largest = np.zeros(n_genes)

    @property
    def compilable(self) -> bool:
        """Whether `add_rows` knows the transform."""
        return self._transform is None or isinstance(self._transform, LogNorm | Clipped)

    def add(self, values: np.ndarray, cells: np.ndarray, genes: np.ndarray) -> None:
        """Add stored counts: values (float64), and the cell and gene of each."""
        groups = self._groups[cells]
        if (groups < 0).any():
            used = groups >= 0
            values, cells, genes, groups = values[used], cells[used], genes[used], groups[used]
        if self._transform is not None:
            values = self._transform(values, cells, genes)
        shape, size = self.total.shape, self.total.size
        flat = groups.astype(np.int64) * shape[1] + genes
        # bincount adds up in the order of the cells, so that equal inputs give equal sums to the last bit.
        self.table[..., 0] += np.bincount(flat, values, size).reshape(shape)
        self.table[..., 1] += np.bincount(flat, values * values, size).reshape(shape)
        if self._transform is None:
            self.table[..., 2] += np.bincount(flat, minlength=size).reshape(shape)
            large = values > 255
            np.maximum.at(self.largest, genes[large], values[large])

    def add_rows(self, counts: CountMap, rows: slice) -> None:
        """Add neighbouring cells by compiled loops."""
        from sclamp.data import sums

        matrix = (counts.indptr, counts.indices, counts.data, rows.start, rows.stop, self._groups)
        match self._transform:
            case None:
                sums.add_counts(*matrix, self.table, self.largest)
            case LogNorm(factors, log1p):
                sums.add_normalised(*matrix, factors, log1p, self.table)
            case Clipped(limits, _):
                sums.add_clipped(*matrix, limits, self.table)

    def smallest_type(self, selected: np.ndarray) -> type[np.unsignedinteger]:
        """The smallest unsigned type that holds all counts of the selected genes (a mask)."""
        largest = self.largest[selected].max(initial=0)
        return np.uint8 if largest <= 255 else np.uint16 if largest <= 65535 else np.uint32


def one_pass(counts: CountMap, accumulators: Sequence[Sums], what: str) -> None:
    """Stream all counts once through several accumulators; what: shown with the progress."""
    compiled = len(counts.data) > COMPILED_ABOVE
    fast = [sums for sums in accumulators if compiled and sums.compilable]
    others = [sums for sums in accumulators if sums not in fast]
    for rows in by_cells(row_blocks(counts.indptr), counts.n_cells, what):
        for first in range(rows.start, rows.stop, _ROWS_IN_CACHE) if fast else ():
            for accumulator in fast:
                accumulator.add_rows(counts, slice(first, min(first + _ROWS_IN_CACHE, rows.stop)))
        if others:
            block = counts.rows(rows)
            cells = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
            values = block.data.astype(np.float64)
            for accumulator in others:
                accumulator.add(values, cells, block.indices)
