"""Statistics of genes as one tidy Parquet table, and back: what later steps read, and what merges start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import provenance_of, read_table, write_table
from sclamp.data.gene_statistics import Spread, Statistics
from sclamp.data.nonzeros import Quantiles
from sclamp.data.tdigest import Digests

MOMENTS = ("n_cells", "n_nonzero", "mean", "variance_population", "lognorm_mean", "lognorm_variance_population")
"""Columns that a merge reads, beside digests."""


def write_statistics(path: str | Path, found: Statistics, provenance: dict[str, Any]) -> None:
    """Write the table; see docs/gene_statistics.md for its columns."""
    target_sum, log1p = found.recipe
    write_table(path, to_table(found), {**provenance, "recipe": {"target_sum": target_sum, "log1p": log1p}})


def to_table(found: Statistics) -> pa.Table:
    """One row per group and gene, the genes of all cells (batch: null) first; what is not known is null."""
    n_groups, n_genes = found.n_nonzero.shape
    counts, logs = found.counts, found.logs
    measured = counts.n > 0
    columns: dict[str, Any] = {
        "gene_id": pa.array(list(found.genes) * n_groups, pa.string()),
        "batch": pa.array(np.repeat(np.array(found.groups, dtype=object), n_genes), pa.string()),
        "status": pa.array(_status(found).ravel()),
        "n_cells": counts.n.ravel(),
        "n_nonzero": found.n_nonzero.ravel(),
    }
    for prefix, spread in (("", counts), ("lognorm_", logs)):
        columns |= {
            f"{prefix}mean": _known(spread.mean, measured),
            f"{prefix}variance_population": _known(spread.variance, measured),
            f"{prefix}variance_sample": _known(spread.of_sample(), spread.n > 1),
            f"{prefix}std_population": _known(np.sqrt(spread.variance), measured),
            f"{prefix}std_sample": _known(np.sqrt(spread.of_sample()), spread.n > 1),
        }
    others = np.full((n_groups - 1) * n_genes, np.nan)
    for name, values in zip(_names(found.shares), found.quantiles.values, strict=True):
        columns[name] = _known(np.concatenate([values, others]))
    error = found.quantiles.errors.max(axis=0)
    columns["quantile_error"] = _known(np.concatenate([error, others]))
    method = [None if np.isnan(e) else "exact" if e == 0 else "t-digest" for e in error]
    columns["quantile_method"] = pa.array([*method, *[None] * len(others)], pa.string())
    if found.quantiles.digests is not None:
        columns |= _digest_columns(found.quantiles.digests, len(others))
    return pa.table(columns)


def read_statistics(path: str | Path) -> Statistics:
    """Read what `write_statistics` wrote, for a merge; `UserError` for another kind of file."""
    table = read_table(path)
    missing = [name for name in ("gene_id", "batch", *MOMENTS) if name not in table.column_names]
    recipe = provenance_of(table).get("recipe")
    if missing or recipe is None:
        found = [unknown("column", name, table.column_names) for name in missing] or ["no recipe in its metadata."]
        raise UserError(*(f"{path}: not a table of describe_genes.py: {problem}" for problem in found))
    batch = table["batch"].to_pylist()
    groups = tuple(dict.fromkeys(batch))
    n_genes = batch.count(None)
    if groups[:1] != (None,) or n_genes * len(groups) != len(batch):
        raise UserError(f"{path}: every group must have all genes, all cells (batch: null) first.")
    shape = (len(groups), n_genes)

    def column(name: str) -> np.ndarray:
        return np.nan_to_num(table[name].to_numpy().astype(np.float64)).reshape(shape)

    n = column("n_cells").astype(np.int64)
    counts = Spread(n, column("mean"), column("variance_population"))
    logs = Spread(n, column("lognorm_mean"), column("lognorm_variance_population"))
    none = np.empty((0, n_genes))
    quantiles = Quantiles(none, none, _digests(table.slice(0, n_genes)))
    genes = tuple(table["gene_id"].to_pylist()[:n_genes])
    settings = float(recipe["target_sum"]), bool(recipe["log1p"])
    return Statistics(genes, groups, column("n_nonzero").astype(np.int64), counts, logs, (), quantiles, settings)


def read_medians(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median of each gene's normalised counts that are not zero, over all cells.

    Returns gene ids (g,), medians (g,) float64 in counts per `target_sum`, and status (g,): a median is NaN exactly
    where the status is never_seen or not_measured. `UserError` for another kind of file.
    """
    table = read_table(path)
    names = ("gene_id", "batch", "status", "nonzero_median")
    missing = [unknown("column", name, table.column_names) for name in names if name not in table.column_names]
    if missing:
        raise UserError(*(f"{path}: not a table of describe_genes.py: {problem}" for problem in missing))
    table = table.filter(table["batch"].is_null())
    medians = table["nonzero_median"].to_numpy().astype(np.float64)
    ids, status = (np.array(table[name].to_pylist(), dtype=object) for name in ("gene_id", "status"))
    return ids, medians, status


def _status(found: Statistics) -> np.ndarray:
    """What the numbers of each group and gene are worth."""
    n = found.counts.n
    return np.select(
        [n == 0, found.n_nonzero == 0, n == 1], ["not_measured", "never_seen", "one_cell"], default="ok"
    ).astype(object)


def _names(shares: tuple[float, ...]) -> list[str]:
    return ["nonzero_median" if share == 0.5 else f"nonzero_q{share:g}" for share in shares]


def _known(values: np.ndarray, known: np.ndarray | None = None) -> pa.Array:
    """A column with null where a value is not known."""
    known = ~np.isnan(values) if known is None else known
    return pa.array(values.ravel(), mask=~known.ravel())


def _digest_columns(digests: Digests, n_others: int) -> dict[str, pa.Array]:
    """Centroids of each gene as lists; null for the rows of batches."""
    offsets = np.concatenate([digests.starts, np.full(n_others, digests.starts[-1])]).astype(np.int32)
    absent = pa.array(np.arange(len(offsets) - 1) >= digests.n_genes)
    return {
        f"digest_{name}": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=absent)
        for name, values in (("means", digests.means), ("weights", digests.weights))
    }


def _digests(table: pa.Table) -> Digests | None:
    """Digests in the rows of all cells; None where the table has none."""
    if "digest_means" not in table.column_names:
        return None
    means, weights = (table[f"digest_{name}"].combine_chunks() for name in ("means", "weights"))
    lengths = np.asarray(means.value_lengths().fill_null(0))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Digests(np.asarray(means.flatten()), np.asarray(weights.flatten()), starts)
