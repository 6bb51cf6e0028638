"""What is known of the cells that are scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Annotation(NamedTuple):
    """What is known of the n cells, as codes.

    batches: -1 where missing. labels: -1 where missing, None without a label column. held_out: mask of cells that did
    not train the model (split val and test).
    """

    batches: np.ndarray
    labels: np.ndarray | None
    held_out: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        """Mask of the cells whose batch and, where there are labels, label are known."""
        known = self.batches >= 0
        return known if self.labels is None else known & (self.labels >= 0)
