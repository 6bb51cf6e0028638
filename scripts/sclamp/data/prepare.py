"""From a source to cells.h5ad: quality control, canonical annotation, split, encoded covariates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError, about
from sclamp.data import covariates
from sclamp.data.annotation import annotation_findings
from sclamp.data.findings import stop_at_errors
from sclamp.data.genes import gene_ids, gene_symbols, mitochondrial
from sclamp.data.h5ad import counts_writer
from sclamp.data.panels import Panels
from sclamp.data.passes import by_cells
from sclamp.data.quality import Survey, survey
from sclamp.data.sources import Source
from sclamp.data.splits import TRAIN, split_cells, strings

FEWEST_GENES = 50
"""Fewer genes than this are refused: no model here can learn from them."""

ONE_BATCH = "all"
"""The batch of all cells where a dataset has no batch column."""


def prepare_cells(source: Source, dataset: Dataset, output: str | Path, provenance: dict[str, Any]) -> None:
    """Write cells.h5ad; reads the counts twice, block by block, and never holds them as a whole.

    Errors: those of `annotation_findings`; values that are no counts; too few cells or genes left; an empty split.
    """
    with about(source.name):
        _prepare(source, dataset, output, provenance)


def _prepare(source: Source, dataset: Dataset, output: str | Path, provenance: dict[str, Any]) -> None:
    stop_at_errors(annotation_findings(source, dataset))
    ids = gene_ids(source, dataset.gene_ids)
    symbols = gene_symbols(source, dataset.gene_symbols, ids)
    seen = survey(source, mitochondrial(symbols, dataset.quality.mito_prefix), dataset.quality)
    if problems := [*filter(None, [seen.verdict.problem(dataset.counts)]), *unusable(seen)]:
        raise UserError(*problems)
    kept = source.obs[seen.keep_cells]
    panels = source.panels()
    panels = panels and panels.take(seen.keep_cells, seen.keep_genes)
    obs = canonical_obs(kept, dataset, seen, panels)
    train = kept[(obs["split"] == TRAIN).to_numpy()]
    fitted = covariates.fit(train, dataset.categorical_covariates, dataset.covariates.continuous)
    encoded = covariates.encode(kept, fitted)
    obsm = {k: v[seen.keep_cells] for k, v in source.obsm().items() if len(v) == len(seen.keep_cells)}
    if encoded.shape[1]:
        obsm = {(f"{k}_original" if k == "covariates" else k): v for k, v in obsm.items()} | {"covariates": encoded}
    spec = {
        "batches": _seen(obs, "batch"),
        "labels": _seen(obs, "label") if dataset.label else [],
        "batch_column": dataset.batch,
        "covariates": {"categorical": fitted.categorical, "continuous": fitted.continuous},
        "recipe": dataset.normalization.model_dump(),
    }
    var = canonical_var(source.var, ids, symbols, seen)
    if panels is not None:
        spec["panels"] = panels.lacking(var.index)
    uns = {"spec": spec, "provenance": provenance}
    print(_summary(seen, obs), file=sys.stderr)
    with counts_writer(output, obs, var, seen.nonzeros, np.float32, np.int32, obsm, uns) as writer:
        row = 0
        for block in by_cells(source.blocks(), len(seen.keep_cells), f"writing {output}"):
            cells = seen.keep_cells[row : row + block.shape[0]]
            row += block.shape[0]
            part = block if cells.all() else block[cells]
            writer.append(part if seen.keep_genes.all() else part[:, seen.keep_genes].tocsr())


def unusable(seen: Survey) -> list[str]:
    """Say where quality control leaves next to nothing; empty when enough is left."""
    left_out = ", ".join(f"{threshold} {n}" for threshold, n in seen.dropped.items() if n) or "nothing"
    if not seen.keep_cells.any():
        return [f"quality: no cell is left of {len(seen.keep_cells)}; left out by {left_out}."]
    if (n := int(seen.keep_genes.sum())) < FEWEST_GENES:
        needed = f"at least {FEWEST_GENES} are needed; left out by {left_out}"
        return [f"quality: {n} genes are left of {len(seen.keep_genes)}, {needed}."]
    return []


def canonical_obs(kept: pd.DataFrame, dataset: Dataset, seen: Survey, panels: Panels | None) -> pd.DataFrame:
    """Columns batch, label, pseudotime, panel, split, library_size, n_genes, mito_share, then the user's own.

    kept: the user's obs of the cells that stay. panels: theirs, where they differ. A user's column with one of these
    names and other content is kept as NAME_original.
    """
    columns: dict[str, Any] = {}
    if dataset.batch is None:
        columns["batch"] = pd.Categorical([ONE_BATCH] * len(kept))
    else:
        columns["batch"] = pd.Categorical(strings(kept, dataset.batch, "batch"))
    if dataset.label is not None:
        labels = pd.Series(strings(kept, dataset.label, "label"), index=kept.index)
        columns["label"] = pd.Categorical(labels.mask(kept[dataset.label].isna()))
    if dataset.pseudotime is not None:
        columns["pseudotime"] = kept[dataset.pseudotime].to_numpy(dtype=np.float64).astype(np.float32)
    if panels is not None:
        columns["panel"] = pd.Categorical.from_codes(panels.of_cell, list(panels.names))
    columns["split"] = split_cells(kept, dataset)
    columns["library_size"] = seen.library_size[seen.keep_cells].astype(np.float32)
    columns["n_genes"] = seen.n_genes_seen[seen.keep_cells].astype(np.int32)
    columns["mito_share"] = seen.mito_share[seen.keep_cells].astype(np.float32)
    return _with_own(pd.DataFrame(columns, index=kept.index), kept, {*columns, "label", "pseudotime"})


def canonical_var(own: pd.DataFrame, ids: np.ndarray, symbols: np.ndarray, seen: Survey) -> pd.DataFrame:
    """Index gene ids; columns symbol, n_cells, total_counts (over the cells that stay), then the user's own."""
    genes = seen.keep_genes
    columns = {
        "symbol": symbols[genes].astype(object),
        "n_cells": seen.n_cells_seen[genes],
        "total_counts": seen.total_counts[genes],
    }
    var = pd.DataFrame(columns, index=pd.Index(ids[genes], dtype=object))
    return _with_own(var, own[genes].set_axis(var.index), set(columns))


def _with_own(ours: pd.DataFrame, own: pd.DataFrame, reserved: set[str]) -> pd.DataFrame:
    """Append the user's columns in types that .h5ad can hold; what collides and differs is renamed."""
    parts = dict(ours.items())
    for name, column in own.items():
        values = column.cat.remove_unused_categories() if isinstance(column.dtype, pd.CategoricalDtype) else column
        if pd.api.types.is_object_dtype(values.dtype) or pd.api.types.is_string_dtype(values.dtype):
            values = values.where(values.isna(), values.astype(str)).astype("category")
        if name not in reserved:
            parts[name] = values
        elif name not in ours or not _same(ours[name], values):
            parts[f"{name}_original"] = values
    return pd.DataFrame(parts, index=ours.index)


def _same(ours: pd.Series, own: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(ours) and pd.api.types.is_numeric_dtype(own):
        return bool(np.allclose(ours.to_numpy(np.float64), own.to_numpy(np.float64), equal_nan=True))
    return bool((ours.astype(str) == own.astype(str)).all())


def _seen(obs: pd.DataFrame, column: str) -> list[str]:
    """Sorted categories of the training cells."""
    return sorted(obs.loc[obs["split"] == TRAIN, column].dropna().astype(str).unique())


def _summary(seen: Survey, obs: pd.DataFrame) -> str:
    cells, genes = int(seen.keep_cells.sum()), int(seen.keep_genes.sum())
    left_out = ", ".join(f"{threshold} {n}" for threshold, n in seen.dropped.items() if n)
    parts = ", ".join(f"{name} {n}" for name, n in obs["split"].value_counts(sort=False).items())
    return (
        f"kept {cells} of {len(seen.keep_cells)} cells and {genes} of {len(seen.keep_genes)} genes"
        f"{f' (left out by {left_out})' if left_out else ''}; {parts}"
    )
