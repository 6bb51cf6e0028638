"""Are these values counts? Every stored value is looked at, and what they look like instead is said."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

LARGEST = 2**24
"""Whole numbers up to here are exact in float32."""

NEARLY_WHOLE = "like counts that were corrected a little, as for saturated UMIs"

_CELLS_TRIED = 200  # cells that are examined for how they were normalised


@dataclass
class CountVerdict:
    """What is wrong with the values of a matrix; collected block by block.

    n_values: stored values seen. n_negative, n_fractional, n_not_finite, n_too_large: offenders among them.
    kind: what the matrix looks like instead ("" for counts). first: cell, gene and value of the first offender.
    """

    n_values: int = 0
    n_negative: int = 0
    n_fractional: int = 0
    n_not_finite: int = 0
    n_too_large: int = 0
    largest: float = 0.0
    kind: str = ""
    first: tuple[int, int, float] | None = None
    n_cells: int = 0
    _tried: int = field(default=0, repr=False)

    def add(self, block: sparse.csr_matrix) -> None:
        """Look at the values of more cells; blocks come in the order of the cells."""
        values, before = block.data, self._offenders
        self.n_values += len(values)
        finite = np.isfinite(values)
        self.n_not_finite += len(values) - int(finite.sum())
        if not finite.all():
            values = values[finite]
        if len(values):
            self.largest = max(self.largest, float(values.max()))
            self.n_negative += int((values < 0).sum())
            self.n_too_large += int((values > LARGEST).sum())
            fractional = int((values != np.rint(values)).sum()) if values.dtype.kind == "f" else 0
            self.n_fractional += fractional
            if fractional > len(values) / 2 and self._tried < _CELLS_TRIED:
                self.kind = looks_like(block) or self.kind
                self._tried += block.shape[0]
        if self.first is None and self._offenders > before:
            self.first = self._find_first(block)
        self.n_cells += block.shape[0]

    def _find_first(self, block: sparse.csr_matrix) -> tuple[int, int, float]:
        values = block.data.astype(np.float64)
        with np.errstate(invalid="ignore"):
            wrong = ~np.isfinite(values) | (values < 0) | (values > LARGEST) | (values != np.rint(values))
        place = int(np.argmax(wrong))
        row = int(np.searchsorted(block.indptr, place, side="right")) - 1
        return self.n_cells + row, int(block.indices[place]), float(values[place])

    @property
    def _offenders(self) -> int:
        return self.n_negative + self.n_fractional + self.n_not_finite + self.n_too_large

    @property
    def are_counts(self) -> bool:
        """True when every value is a whole number that is not negative and exact in float32."""
        return not self._offenders

    def problem(self, place: str) -> str:
        """Say what is wrong; place: how the configuration names the matrix. Empty for counts."""
        if self.are_counts:
            return ""
        offenders = {
            "negative": self.n_negative,
            "fractional": self.n_fractional,
            "NaN or infinite": self.n_not_finite,
            f"above {LARGEST}": self.n_too_large,
        }
        parts = [f"{n} {what}" for what, n in offenders.items() if n]
        looks = f"; it looks {self.kind}" if self.kind else ""
        first = ""
        if self.first is not None:
            first = (
                f" (the first is {self.first[2]:g} in cell number {self.first[0] + 1}, gene number {self.first[1] + 1})"
            )
        found = f"of {self.n_values} stored values {', '.join(parts)}{first}"
        return f"counts: {place} does not hold counts: {found}{looks}."


def looks_like(block: sparse.csr_matrix) -> str:
    """Guess how counts were transformed: undo it, and see whether each cell becomes multiples of one number."""
    if (block.data < 0).mean() > 0.1:
        return "scaled (z-scored), as negative values show"
    cells = [block.data[a:b] for a, b in zip(block.indptr[:_CELLS_TRIED], block.indptr[1:], strict=False) if b - a >= 5]
    cells = [cell.astype(np.float64) for cell in cells if np.isfinite(cell).all() and cell.min() > 0]
    if not cells:
        return ""
    if np.median([_share_near_whole(cell) for cell in cells]) > 0.9:  # the logarithm to base 2 would fit these, too
        return NEARLY_WHOLE
    bases = {
        "log-normalised (natural logarithm)": np.e,
        "log-normalised (base 2)": 2.0,
        "log-normalised (base 10)": 10.0,
    }
    for words, base in bases.items():
        undone = [np.expm1(cell * np.log(base)) for cell in cells if cell.max() * np.log(base) < 50]
        if len(undone) > 0.9 * len(cells) and np.median([_share_of_multiples(cell) for cell in undone]) > 0.95:
            return words
    if np.median([_share_of_multiples(cell) for cell in cells]) > 0.95:
        return "normalised to a common sum (multiples of one number in each cell)"
    largest = max(float(cell.max()) for cell in cells)
    return f"log-normalised (fractional, none above {largest:.3g})" if largest < 15 else ""


def _share_near_whole(values: np.ndarray) -> float:
    """Share of small values that are close to whole numbers; corrections grow with the value."""
    small = values[values < 10]
    return float((np.abs(small - np.rint(small)) < 0.1).mean()) if len(small) else 0.0


def _share_of_multiples(values: np.ndarray) -> float:
    """Share of values that are whole multiples of the smallest; larger multiples say little and are left out."""
    ratios = values / values.min()
    ratios = ratios[ratios < 50]
    if len(ratios) < max(5, len(values) / 2):  # too few to tell anything
        return 0.0
    return float((np.abs(ratios - np.rint(ratios)) < 0.02).mean())
