"""Counts that are not whole (estimated from reads, or corrected for saturated UMIs), rounded as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.data.counts import looks_like
from sclamp.data.panels import Panels
from sclamp.data.sources import Source, canonical

_NOT_COUNTS = ("log-normalised", "scaled")


class Rounded(Source):
    """Another source with its values rounded to the nearest whole number; below .5 they become zeros.

    Rounding hides what the values were, so each block is looked at before. Errors: log-normalised or scaled values.
    """

    def __init__(self, source: Source) -> None:
        self._source, self.name, self.obs, self.var = source, source.name, source.obs, source.var

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """See `Source.blocks`."""
        self.n_rounded = 0
        for block in self._source.blocks():
            whole = np.rint(block.data)
            fractional = np.isfinite(block.data) & (whole != block.data)
            if fractional.any():
                self._refuse_normalised(block, fractional)
                self.n_rounded += int(fractional.sum())
                block = canonical(sparse.csr_matrix((whole, block.indices, block.indptr), shape=block.shape))
            yield block

    def _refuse_normalised(self, block: sparse.csr_matrix, fractional: np.ndarray) -> None:
        """Look at the cells of which most values are not whole."""
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        of_cell = np.bincount(rows[fractional], minlength=block.shape[0])
        cells = of_cell * 2 > np.diff(block.indptr)
        kind = looks_like(block[cells]) if cells.any() else ""
        if kind.startswith(_NOT_COUNTS):
            raise UserError(
                f"counts: the values of {self.name} are not estimated counts: they look {kind}. fractions: round is "
                "for counts that are not whole; point counts to the raw counts."
            )

    def files(self) -> list[Path]:
        """The files of the source."""
        return self._source.files()

    def obsm(self) -> dict[str, np.ndarray]:
        """Arrays of the source."""
        return self._source.obsm()

    def panels(self) -> Panels | None:
        """Panels of the source."""
        return self._source.panels()

    def some_values(self) -> np.ndarray:
        """Some values, as they are stored."""
        return self._source.some_values()

    def elsewhere(self) -> dict[str, Source]:
        """Other places of the source."""
        return self._source.elsewhere()
