"""How well a reconstruction agrees with what was measured: correlations and errors; per gene, per cell, in all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from sclamp.core.ranks import average_ranks

MEASURES = ("pearson", "spearman", "mse", "rmse", "mae", "cosine")

SCHEMA = pa.schema(
    [("scope", pa.string()), ("id", pa.string()), ("n", pa.int64())] + [(name, pa.float64()) for name in MEASURES]
)

MAX_ENTRIES = 20_000_000
"""Cells x genes that are held and ranked at once; of more cells an evenly spaced sample is taken."""


def spaced(rows: np.ndarray, n_genes: int, max_entries: int = MAX_ENTRIES) -> np.ndarray:
    """All rows, or as many as fit, evenly spaced."""
    most = max(2, max_entries // max(n_genes, 1))
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def agreement_table(
    measured: np.ndarray,
    reconstructed: np.ndarray,
    cell_ids: np.ndarray,
    gene_ids: tuple[str, ...],
    among: np.ndarray | None = None,
) -> pa.Table:
    """Columns scope ("all", "gene", "cell"), id, n and `MEASURES` of two (cells, genes) arrays.

    among: mask of the entries that count, all by default; n is their number. Correlations are NaN where one side is
    constant, the cosine where one side is zero, everything where there are no entries. Spearman: ties averaged.
    """
    scopes = {
        "all": ([""], lambda array: [array.ravel()]),
        "gene": (list(gene_ids), lambda array: array.T),
        "cell": ([str(cell) for cell in cell_ids], lambda array: array),
    }
    rows: list[dict[str, Any]] = []
    for scope, (ids, cut) in scopes.items():
        masks = [slice(None)] * len(ids) if among is None else cut(among)
        for name, x, y, kept in zip(ids, cut(measured), cut(reconstructed), masks, strict=True):
            values = agreement(x[kept], y[kept])
            rows.append({"scope": scope, "id": name, "n": len(x[kept]), **values})
    return pa.Table.from_pylist(rows, SCHEMA)


def agreement(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """`MEASURES` of two vectors, in float64."""
    if not len(x):
        return dict.fromkeys(MEASURES, np.nan)
    x, y = x.astype(np.float64), y.astype(np.float64)
    error = x - y
    mse = float(error @ error) / len(x)
    return {
        "pearson": pearson(x, y),
        "spearman": pearson(average_ranks(x), average_ranks(y)),
        "mse": mse,
        "rmse": mse**0.5,
        "mae": float(np.abs(error).mean()),
        "cosine": _cosine(x, y),
    }


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of two float64 vectors; NaN where one is constant but for rounding."""
    return _cosine(x - x.mean(), y - y.mean(), 1e-12 * len(x))


def _cosine(x: np.ndarray, y: np.ndarray, least: float = 0.0) -> float:
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > least else np.nan
