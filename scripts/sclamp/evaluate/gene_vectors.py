"""The gene embedding that is scored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.evaluate.measure import NotApplicable, Unscorable


@dataclass
class GeneVectors:
    """ids (g,): genes. raw (g, d) float32: their vectors as they were read, NaN and all; d = 0 where g = 0."""

    ids: np.ndarray
    raw: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def vectors(self) -> np.ndarray:
        """(g, d) float64, finite and not all equal; a reason why there are none otherwise."""
        if not len(self):
            raise NotApplicable("the model has no gene side: its gene embedding has no rows")
        if broken := int((~np.isfinite(self.raw)).any(axis=1).sum()):
            raise Unscorable(f"{broken} of {len(self)} genes have NaN or infinite values in their embedding")
        if (self.raw == self.raw[0]).all():
            raise Unscorable(f"all {len(self)} genes have the same embedding")
        return self.raw.astype(np.float64)

    @cached_property
    def unit(self) -> np.ndarray:
        """Vectors of length 1, whose euclidean distances order like cosines; zero vectors stay zero."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.where(lengths > 0, lengths, 1)


def read_gene_vectors(path: str | Path) -> GeneVectors:
    """Read a gene_embedding.parquet, also one without rows; values that are not finite are for the scores to report."""
    import pyarrow as pa

    table = read_table(path)
    if missing := [name for name in ("gene_id", "embedding") if name not in table.column_names]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.column_names) for name in missing))
    ids = np.asarray(table["gene_id"].to_pylist(), dtype=object)
    if not len(ids):
        return GeneVectors(ids, np.empty((0, 0), np.float32))
    column = pa.concat_arrays(table["embedding"].chunks)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    problems = []
    if len(np.unique(lengths)) > 1 or lengths[0] == 0:
        problems.append(f"{path}: vectors of {lengths.min()} to {lengths.max()} values; equal widths above 0 expected.")
    names, counts = np.unique(ids.astype(str), return_counts=True)
    if (counts > 1).any():
        twice = names[counts > 1]
        problems.append(f"{path}: {len(twice)} genes occur more than once, the first is '{twice[0]}'.")
    if problems:
        raise UserError(*problems)
    return GeneVectors(ids, np.asarray(column.flatten(), dtype=np.float32).reshape(len(ids), -1))
