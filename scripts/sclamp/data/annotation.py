"""Checks of the annotation that a dataset's settings name: obs and var columns, ids, missing values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError, unknown
from sclamp.data.check_panels import panel_findings
from sclamp.data.covariates import numbers
from sclamp.data.findings import Finding, Level
from sclamp.data.genes import gene_ids, gene_symbols
from sclamp.data.sources import Source

_FEWEST_PER_BATCH = 5  # cells per batch on average, below which a column hardly tells batches apart


def annotation_findings(source: Source, dataset: Dataset) -> list[Finding]:
    """Everything that can be said without the counts; columns are judged on all cells of the file."""
    return [
        *_ids("cells", source.obs.index, f"obs index of {source.name}"),
        *_genes(source, dataset),
        *panel_findings(source, dataset.join),
        *_batch(source.obs, dataset),
        *_label(source.obs, dataset),
        *_pseudotime(source.obs, dataset.pseudotime),
        *_covariates(source.obs, dataset),
        *_split_columns(source.obs, dataset),
    ]


def _ids(check: str, ids: pd.Index, where: str) -> list[Finding]:
    twice = ids[ids.duplicated()].unique()
    if not len(twice):
        return [Finding(check, "ok", f"{len(ids)} {check} with unique ids")]
    examples = ", ".join(f"'{i}'" for i in twice[:3])
    hint = "make them unique" if check == "cells" else "name a var column with unique ids as gene_ids"
    return [Finding(check, "error", f"{where}: {len(twice)} ids occur more than once ({examples}); {hint}.")]


def _genes(source: Source, dataset: Dataset) -> list[Finding]:
    index, problems = source.var.index.to_numpy(dtype=object), list[str]()
    for read in (lambda: gene_ids(source, dataset.gene_ids), lambda: gene_symbols(source, dataset.gene_symbols, index)):
        try:
            read()
        except UserError as error:
            problems += error.problems
    if problems:
        return [Finding("genes", "error", problem) for problem in problems]
    ids = gene_ids(source, dataset.gene_ids)
    where = f"gene_ids: var {'index' if dataset.gene_ids is None else repr(dataset.gene_ids)} of {source.name}"
    if pd.isna(ids).any():
        return [Finding("genes", "error", f"{where}: {int(pd.isna(ids).sum())} genes have no id.")]
    return _ids("genes", pd.Index(ids, dtype=object), where)


def _missing_column(obs: pd.DataFrame, column: str, key: str) -> list[Finding]:
    if column in obs:
        return []
    return [Finding(key.partition(".")[0], "error", unknown(f"{key}: obs column", column, obs.columns))]


def _batch(obs: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    if dataset.batch is None:
        return [Finding("batch", "skipped", "no batch column is named: all cells are one batch")]
    if found := _missing_column(obs, dataset.batch, "batch"):
        return found
    values = obs[dataset.batch]
    if n := int(values.isna().sum()):
        message = f"batch: obs column '{dataset.batch}' is missing (NaN) for {n} of {len(values)} cells; fill it in."
        return [Finding("batch", "error", message)]
    sizes = values.astype(str).value_counts()
    if len(sizes) == 1:
        message = f"batch: obs column '{dataset.batch}' has the single value '{sizes.index[0]}'; nothing to correct."
        return [Finding("batch", "warning", message)]
    if len(values) > _FEWEST_PER_BATCH and len(values) < _FEWEST_PER_BATCH * len(sizes):
        message = (
            f"batch: obs column '{dataset.batch}' has {len(sizes)} values for {len(values)} cells (such as "
            f"'{sizes.index[0]}'); is it a measurement? Name a column of donors, libraries or technologies."
        )
        return [Finding("batch", "warning", message)]
    return [Finding("batch", "ok", f"{len(sizes)} batches of {sizes.min()} to {sizes.max()} cells")]


def _label(obs: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    if dataset.label is None:
        return [Finding("label", "skipped", "no label column is named: scores that need cell types do not apply")]
    if found := _missing_column(obs, dataset.label, "label"):
        return found
    values, findings = obs[dataset.label], []
    if n := int(values.isna().sum()):
        message = f"label: obs column '{dataset.label}' is missing (NaN) for {n} of {len(values)} cells: unlabelled."
        findings.append(Finding("label", "warning", message))
    sizes = values.dropna().astype(str).value_counts()
    if len(sizes) < 2:
        message = (
            f"label: obs column '{dataset.label}' tells no two labels apart; scores that compare labels do not apply."
        )
        return [*findings, Finding("label", "error" if sizes.empty else "warning", message)]
    few = ", ".join(f"'{name}' ({n})" for name, n in sizes[sizes < 5].head(5).items())
    if few:
        message = f"label: fewer than 5 cells have the labels {few}."
        findings.append(Finding("label", "warning", message))
    return [*findings, Finding("label", "ok", f"{len(sizes)} labels of {sizes.min()} to {sizes.max()} cells")]


def _pseudotime(obs: pd.DataFrame, column: str | None) -> list[Finding]:
    if column is None:
        return []
    if found := _missing_column(obs, column, "pseudotime"):
        return found
    if not pd.api.types.is_numeric_dtype(obs[column]):
        message = f"pseudotime: obs column '{column}' holds {obs[column].dtype}; numbers are expected."
        return [Finding("pseudotime", "error", message)]
    known = np.isfinite(obs[column].to_numpy(dtype=np.float64))
    if len(np.unique(obs[column].to_numpy(dtype=np.float64)[known])) < 2:
        message = f"pseudotime: obs column '{column}' holds a single value; trajectories cannot be compared."
        return [Finding("pseudotime", "warning", message)]
    return [Finding("pseudotime", "ok", f"{column}: known for {known.sum()} of {len(obs)} cells")]


def _covariates(obs: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    findings = []
    for column in dataset.categorical_covariates:
        if column == dataset.batch and dataset.covariates.categorical is None:
            continue  # judged as batch
        if found := _missing_column(obs, column, "covariates.categorical"):
            findings += found
            continue
        values = obs[column]
        if n := int(values.isna().sum()):
            message = f"covariates.categorical: '{column}' is missing for {n} cells: a category 'nan' of their own."
            findings.append(Finding("covariates", "warning", message))
        findings += _width("categorical", column, values.nunique(dropna=False), len(values))
    for column in dataset.covariates.continuous:
        if found := _missing_column(obs, column, "covariates.continuous"):
            findings += found
            continue
        try:
            findings += _width("continuous", column, len(np.unique(numbers(obs, column))), None)
        except UserError as error:
            findings += [Finding("covariates", "error", problem) for problem in error.problems]
    return findings


def _width(kind: str, column: str, n_values: int, n_cells: int | None) -> list[Finding]:
    level: Level = "ok"
    message = f"{column}: {kind}, {n_values} values"
    if n_values < 2:
        level, message = "warning", f"covariates.{kind}: '{column}' has a single value and says nothing."
    elif n_cells is not None and n_values > max(50, n_cells / 20):
        level = "warning"
        message = f"covariates.{kind}: '{column}' has {n_values} values, each one input column; is it continuous?"
    return [Finding("covariates", level, message)]


def _split_columns(obs: pd.DataFrame, dataset: Dataset) -> list[Finding]:
    named = {"split.column": dataset.split.column, "split.group": dataset.split.group}
    return [f for key, column in named.items() if column is not None for f in _missing_column(obs, column, key)]
