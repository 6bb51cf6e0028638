"""Cells and sizes of data for tests of classifiers."""

from __future__ import annotations

from typing import Any

import torch

from sclamp.types import Batch, DataSpec


def batch_of(x: Any, labels: Any) -> Batch:
    """A batch of cells with scaled expression (n, genes) and labels (n,)."""
    n, none = len(labels), torch.zeros(len(labels), dtype=torch.int64)
    scaled = torch.as_tensor(x, dtype=torch.float32)
    label = torch.as_tensor(labels, dtype=torch.int64)
    return Batch(none, torch.zeros(n, 0), none, torch.ones(n), scaled=scaled, label=label)


def spec(n_genes: int, labels: Any, n_cells: int) -> DataSpec:
    """Data of that many genes and training cells, with these labels."""
    return DataSpec(tuple(f"G{i}" for i in range(n_genes)), labels=tuple(map(str, labels)), n_cells=int(n_cells))
