"""What training and embedding read: counts and per-cell values in file order, genes in the model's order."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_embedding
from sclamp.data.h5ad import Cells, CountMap, read_cells
from sclamp.data.panels import Panels, stored
from sclamp.types import Covariates, DataSpec, Recipe


@dataclass(frozen=True)
class Counts:
    """A CSR matrix by its arrays (mapped or in memory). n_cells, n_genes: its shape."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    n_genes: int

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def n_bytes(self) -> int:
        """Bytes of the three arrays."""
        return self.indptr.nbytes + self.indices.nbytes + self.data.nbytes


@dataclass(frozen=True)
class Inputs:
    """The cells that a model sees.

    columns (columns of counts,): position among the model's genes, -1 for a column that the model does not read.
    split: train, val or test. batch, label: position among the model's, -1 unseen or missing. mean, std: (genes,)
    float32 of log-normalised expression in the training cells. panels: which of the model's genes each cell was
    measured for; None where that is all of them. embedding: (cells, d) float32 by another model, for models that read
    one.
    """

    counts: Counts
    columns: np.ndarray
    n_genes: int
    cell_ids: np.ndarray
    split: np.ndarray
    library_size: np.ndarray
    covariates: np.ndarray
    batch: np.ndarray
    label: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    recipe: Recipe
    panels: Panels | None = None
    embedding: np.ndarray | None = None

    def measured(self, rows: np.ndarray) -> np.ndarray | None:
        """Which genes these cells were measured for, (rows, genes) bool; None where every cell was for all."""
        return None if self.panels is None else self.panels.measured[self.panels.of_cell[rows]]

    def rows(self, split: str | None) -> np.ndarray:
        """Positions of the cells of one split, or of all, in file order."""
        return np.arange(len(self.split)) if split is None else np.flatnonzero(self.split == split)


def read_gene_priors(paths: Mapping[str, str | Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read matched gene priors: name -> (gene ids, (genes, width) float32)."""
    return {name: read_embedding(path, "gene_id") for name, path in paths.items()}


def read_cell_embedding(path: str | Path, cell_ids: np.ndarray) -> np.ndarray:
    """The embedding of the named cells, (cells, d) float32 in their order, of a table that may hold others as well.

    Errors: cells that the table lacks.
    """
    ids, matrix = read_embedding(path, "cell_id")
    at = pd.Index(ids, dtype=object).get_indexer(pd.Index(cell_ids, dtype=object))
    if len(missing := np.flatnonzero(at < 0)):
        raise UserError(
            f"{path}: {len(missing)} of {len(cell_ids)} cells have no embedding, such as '{cell_ids[missing[0]]}'; it "
            f"holds {len(ids)} cells, such as '{ids[0] if len(ids) else ''}'. Expected one of the same dataset."
        )
    return matrix[at]


def describe(path: str | Path, priors: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> DataSpec:
    """What a new model is built from: the file's genes that every gene prior knows, in the file's order."""
    cells = _known_cells(path)
    genes = [str(gene) for gene in cells.var.index]
    _check_priors(path, genes, priors)
    common = set(genes).intersection(*(set(ids) for ids, _ in priors.values()))
    left_out = [gene for gene in genes if gene not in common]
    if left_out:
        shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        print(f"{len(left_out)} of {len(genes)} genes lack a gene prior and are left out: {shown}", file=sys.stderr)
    spec, kept = cells.spec, tuple(gene for gene in genes if gene in common)
    _report_panels(path, stored(cells.obs, spec, kept))
    return DataSpec(
        gene_ids=kept,
        batches=tuple(spec["batches"]),
        labels=tuple(spec["labels"]),
        covariates=_covariates(spec),
        batch_columns=_batch_columns(spec),
        gene_priors={name: matrix.shape[1] for name, (_, matrix) in priors.items()},
        recipe=Recipe(**spec["recipe"]),
        n_cells=int((cells.obs["split"] == "train").sum()),
    )


def _known_cells(path: str | Path) -> Cells:
    """The cells of a file of select_genes.py; `UserError` where it lacks what training reads."""
    cells = read_cells(path)
    needed = {"obs": ("batch", "split", "library_size"), "var": ("lognorm_mean", "lognorm_std")}
    tables = {"obs": cells.obs, "var": cells.var}
    problems = [
        f"{path}: " + unknown(f"{name} column", column, tables[name].columns)
        for name, columns in needed.items()
        for column in columns
        if column not in tables[name]
    ]
    spec_needs = ("batches", "labels", "covariates", "recipe")
    problems += [f"{path}: uns['sclamp'] has no '{key}'; make it anew." for key in spec_needs if key not in cells.spec]
    if problems:
        raise UserError(*problems)
    return cells


def _report_panels(path: str | Path, panels: Panels | None) -> None:
    """Say what each gene panel lacks; a panel without any gene of the model is an error."""
    if panels is None:
        return
    n_genes, measured = panels.measured.shape[1], panels.measured.sum(1)
    if not measured.all():
        names = ", ".join(f"'{name}'" for name, n in zip(panels.names, measured, strict=True) if not n)
        raise UserError(
            f"{path}: the gene panel {names} has none of the {n_genes} genes that the model would read; select "
            "genes that more panels share (gene_selections), or leave its files out."
        )
    shares = ", ".join(f"'{name}' {n}" for name, n in zip(panels.names, measured, strict=True))
    shared = int(panels.measured.all(0).sum())
    print(f"gene panels: of {n_genes} genes {shares}; {shared} are on all of them", file=sys.stderr)


def _check_priors(path: str | Path, genes: list[str], priors: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    problems = []
    known = set(genes)
    for name, (ids, _) in priors.items():
        foreign = [str(gene) for gene in ids if gene not in known]
        if foreign:
            problems.append(
                f"gene prior '{name}': {len(foreign)} of its {len(ids)} genes, such as '{foreign[0]}', are not among "
                f"the {len(genes)} of {path}; expected a prior that match_gene_prior.py matched to this gene selection."
            )
    if not problems and not known.intersection(*(set(ids) for ids, _ in priors.values())):
        problems.append(f"gene priors {', '.join(priors)}: no gene of {path} has a vector in each of them.")
    if problems:
        raise UserError(*problems)


def _covariates(spec: Mapping[str, Any]) -> Covariates:
    raw = spec["covariates"]
    return Covariates(
        categorical={name: tuple(values) for name, values in raw["categorical"].items()},
        continuous={name: (values[0], values[1]) for name, values in raw["continuous"].items()},
    )


def read_inputs(path: str | Path, data: DataSpec) -> Inputs:
    """Read a counts file for the model described by `data`.

    Errors: genes of the model that the file lacks; a file prepared with other covariates.
    """
    cells, counts = _known_cells(path), CountMap(path)
    if _covariates(cells.spec) != data.covariates:
        raise UserError(
            f"{path}: its covariates are {_named(_covariates(cells.spec))}, the model was trained with "
            f"{_named(data.covariates)} (columns or categories differ); use embed_cells.py for other data."
        )
    columns = columns_of([str(gene) for gene in cells.var.index], data.gene_ids, str(path))
    read = columns >= 0
    mean, std = np.zeros(data.n_genes, np.float32), np.ones(data.n_genes, np.float32)
    mean[columns[read]] = cells.var["lognorm_mean"].to_numpy(np.float32)[read]
    std[columns[read]] = cells.var["lognorm_std"].to_numpy(np.float32)[read]
    std[~(std > 0)] = 1.0  # a gene that training cells never show, or all alike
    return Inputs(
        counts=Counts(np.asarray(counts.indptr), np.asarray(counts.indices), np.asarray(counts.data), counts.n_genes),
        columns=columns,
        n_genes=data.n_genes,
        cell_ids=cells.obs.index.to_numpy(dtype=object),
        split=cells.obs["split"].to_numpy(dtype=object),
        library_size=cells.obs["library_size"].to_numpy(np.float32),
        covariates=cells.covariates.astype(np.float32, copy=False),
        batch=_codes(cells, "batch", data.batches),
        label=_codes(cells, "label", data.labels),
        mean=mean,
        std=std,
        recipe=data.recipe,
        panels=stored(cells.obs, cells.spec, data.gene_ids),
    )


def columns_of(file_genes: Sequence[str], model_genes: Sequence[str], where: str) -> np.ndarray:
    """Position among the model's genes of each column of a file, -1 for others; all model genes must be there."""
    columns = pd.Index(model_genes, dtype=object).get_indexer(pd.Index(file_genes, dtype=object))
    missing = sorted(set(model_genes).difference(file_genes))
    if missing:
        raise UserError(
            f"{where}: {len(missing)} of the model's {len(model_genes)} genes are missing, such as "
            f"{', '.join(missing[:5])}; the file has {len(file_genes)} genes, such as {', '.join(file_genes[:3])}."
        )
    return columns.astype(np.int64)


def _codes(cells: Cells, column: str, names: Sequence[str]) -> np.ndarray:
    if column not in cells.obs:
        return np.full(len(cells.obs), -1, dtype=np.int64)
    values = cells.obs[column]
    return pd.Index(names, dtype=object).get_indexer(values.astype(object).where(values.notna(), None)).astype(np.int64)


def _batch_columns(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Where the columns of the batch lie among those of the covariates; (0, 0) where no covariate is the batch."""
    first = 0
    for name, values in spec["covariates"]["categorical"].items():
        if name == spec.get("batch_column"):
            return first, first + len(values)
        first += len(values)
    return 0, 0


def _named(covariates: Covariates) -> str:
    columns = [f"{name} ({len(values)} categories)" for name, values in covariates.categorical.items()]
    return ", ".join([*columns, *covariates.continuous]) or "none"
