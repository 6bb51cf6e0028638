"""Labels in the Cell Ontology: how far apart they are, and what each of them is a kind of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np


class Lineage:
    """Labels (c,) and the cell types that they are.

    ids: of the Cell Ontology, None for a label that is not there. notes: what is not there, with suggestions.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.ids: list[str | None] = [None] * len(self.labels)
        self.notes: list[str] = []

    @cached_property
    def distances(self) -> np.ndarray:
        """Steps between two labels, (c, c) float64; infinite where they are not connected or not in the ontology."""
        return np.full((len(self.labels), len(self.labels)), np.inf)
