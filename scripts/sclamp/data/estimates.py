"""Sizes of a dataset, and what they will cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from sclamp.data.h5ad import BLOCK_NONZEROS
from sclamp.data.quality import Survey

_BASE_MB = 300  # the interpreter with its libraries
_BYTES_PER_BLOCK_VALUE = 60  # a block as float64 with its positions, and copies of it
_VALUES_PER_SECOND = 10e6  # one pass over uncompressed counts on one core, checks included


def estimates(shape: tuple[int, int], seen: Survey) -> dict[str, Any]:
    """Facts for checks.json: sizes before and after quality control, disk, memory and time of the next rules.

    disk_mb: cells.h5ad. memory_mb: peak of prepare and of gene selection. seconds: prepare, then a gene selection.
    """
    cells, genes = int(seen.keep_cells.sum()), int(seen.keep_genes.sum())
    stored = seen.verdict.n_values
    block = min(stored, BLOCK_NONZEROS) * _BYTES_PER_BLOCK_VALUE
    tables = 200 * (shape[0] + shape[1])
    return {
        "n_cells": shape[0],
        "n_genes": shape[1],
        "n_cells_kept": cells,
        "n_genes_kept": genes,
        "density": round(stored / max(shape[0] * shape[1], 1), 5),
        "median_counts": float(_median(seen, "library_size")),
        "median_genes": float(_median(seen, "n_genes_seen")),
        "disk_mb": round((seen.nonzeros * 8 + cells * 200) / 1e6, 1),
        "memory_mb": round(_BASE_MB + (block + tables) / 1e6),
        "seconds": round(2 + 2 * stored / _VALUES_PER_SECOND, 1),
    }


def words(facts: dict[str, Any]) -> str:
    """The estimates as a sentence."""
    disk, memory, seconds = facts["disk_mb"], facts["memory_mb"], facts["seconds"]
    return f"cells.h5ad will take about {disk:g} MB of disk, {memory} MB of memory and {seconds:g} s"


def _median(seen: Survey, name: str) -> float:
    values = getattr(seen, name)[seen.keep_cells]
    return float(np.median(values)) if len(values) else 0.0
