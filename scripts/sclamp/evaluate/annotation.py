"""What is known of the cells that are scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Annotation(NamedTuple):
    """What is known of the n cells, as codes.

    batches: -1 where missing. labels: -1 where missing, None without a label column. held_out: mask of cells that did
    not train the model (split val and test). batch_names, label_names: of the codes, where they are known. pseudotime
    (n,): of the uncorrected data, NaN where missing; None where the data set has none.
    """

    batches: np.ndarray
    labels: np.ndarray | None
    held_out: np.ndarray
    batch_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    pseudotime: np.ndarray | None = None

    @property
    def complete(self) -> np.ndarray:
        """Mask of the cells whose batch and, where there are labels, label are known."""
        known = self.batches >= 0
        return known if self.labels is None else known & (self.labels >= 0)
