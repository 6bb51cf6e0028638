"""New cells for a trained model: genes found by name, covariates encoded as in training, counts checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data import covariates
from sclamp.data.counts import CountVerdict
from sclamp.data.genes import gene_ids, gene_symbols, without_version
from sclamp.data.inputs import Counts, Inputs
from sclamp.data.panels import Panels
from sclamp.data.sources import Source
from sclamp.data.splits import strings
from sclamp.types import DataSpec, GeneStatistics


def read_new_cells(
    source: Source, dataset: Dataset, data: DataSpec, statistics: GeneStatistics, min_genes_share: float
) -> Inputs:
    """All cells of a source as inputs of the model described by `data`; no quality control, no order of genes expected.

    Genes that the source lacks were not measured there (or count as zero in every cell: `dataset.absent_genes`); their
    share is reported, and is an error where less than `min_genes_share` is found. Values of covariates that training
    did not see become zeros, and are reported.
    """
    columns = _columns(source, dataset, data, min_genes_share)
    counts, library = _counts(source, dataset, columns)
    _report_covariates(source.obs, data)
    n = len(source.obs)
    return Inputs(
        counts=counts,
        columns=columns,
        n_genes=data.n_genes,
        cell_ids=source.obs.index.to_numpy(dtype=object),
        split=np.full(n, "new", dtype=object),
        library_size=library,
        covariates=covariates.encode(source.obs, data.covariates),
        batch=_codes(source.obs, dataset.batch, data.batches),
        label=_codes(source.obs, dataset.label, data.labels),
        mean=statistics.mean.numpy(),
        std=statistics.std.numpy(),
        recipe=data.recipe,
        panels=_panels(source, columns, data.n_genes) if dataset.absent_genes == "unmeasured" else None,
    )


def _columns(source: Source, dataset: Dataset, data: DataSpec, min_share: float) -> np.ndarray:
    """Position among the model's genes of each of the source's; -1 for others."""
    ids = gene_ids(source, dataset.gene_ids)
    symbols = gene_symbols(source, dataset.gene_symbols, ids)
    plain = np.array([without_version(str(gene)) for gene in ids], dtype=object)
    model = pd.Index(data.gene_ids, dtype=object)
    plain_model = pd.Index([without_version(gene) for gene in data.gene_ids], dtype=object)
    tried: dict[str, np.ndarray] = {"gene ids": model.get_indexer(ids), "symbols": model.get_indexer(symbols)}
    if plain_model.is_unique:
        tried["gene ids without version"] = plain_model.get_indexer(plain)
    how = max(tried, key=lambda name: len(np.unique(tried[name][tried[name] >= 0])))
    columns = tried[how]
    used, times = np.unique(columns[columns >= 0], return_counts=True)
    if (times > 1).any():
        gene = data.gene_ids[used[times > 1][0]]
        raise UserError(
            f"{source.name}: {int((times > 1).sum())} of the model's genes occur more than once, such as '{gene}'; "
            "expected each gene once."
        )
    missing = [gene for i, gene in enumerate(data.gene_ids) if i not in set(used.tolist())]
    share = len(used) / data.n_genes
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    found = f"{len(used)} of the model's {data.n_genes} genes ({share:.1%}) are there by {how}"
    if share < min_share:
        raise UserError(
            f"{source.name}: {found}, at least {min_share:.0%} are needed (--min-genes-share); the model has "
            f"{', '.join(data.gene_ids[:3])}, the data {', '.join(map(str, ids[:3]))}; missing: {shown}."
        )
    meaning = "count as zero" if dataset.absent_genes == "zero" else "were not measured"
    rest = f"; the others {meaning}: {shown}" if missing else ""
    print(f"genes: {found}, {int((columns < 0).sum())} further ones are not read{rest}", file=sys.stderr)
    return columns.astype(np.int64)


def _panels(source: Source, columns: np.ndarray, n_genes: int) -> Panels | None:
    """Which of the model's genes each cell was measured for; None where that is all of them."""
    cells, genes = source.shape
    own = source.panels() or Panels((source.name,), np.zeros(cells, np.int64), np.ones((1, genes), dtype=bool))
    measured = np.zeros((len(own.names), n_genes), dtype=bool)
    measured[:, columns[columns >= 0]] = own.measured[:, columns >= 0]
    return None if measured.all() else own._replace(measured=measured)


def _counts(source: Source, dataset: Dataset, columns: np.ndarray) -> tuple[Counts, np.ndarray]:
    """Counts of the model's genes, and the sum over all genes of each cell."""
    verdict, blocks, sums = CountVerdict(), [], []
    read = np.flatnonzero(columns >= 0)
    for block in source.blocks():
        verdict.add(block)
        sums.append(np.asarray(block.astype(np.float64).sum(axis=1)).ravel())
        part = sparse.csr_matrix(block[:, read])
        part.indices = read[part.indices]  # back to the source's columns, of which `columns` speaks
        blocks.append(part)
    if not blocks:
        raise UserError(f"{source.name}: has no cells.")
    if not verdict.are_counts:
        places = ", ".join(name for name in source.elsewhere()) or "no other matrix"
        hint = f"""Name the raw counts by --settings '{{"counts": "layers/NAME"}}'; the file has: {places}."""
        raise UserError(f"{source.name}: {verdict.problem(dataset.counts)} {hint}")
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.indptr) for part in blocks]))])
    indices, data = (np.concatenate([getattr(part, name) for part in blocks]) for name in ("indices", "data"))
    counts = Counts(indptr.astype(np.int64), indices, data.astype(np.float32), len(columns))
    return counts, np.concatenate(sums).astype(np.float32)


def _report_covariates(obs: pd.DataFrame, data: DataSpec) -> None:
    for column, known in data.covariates.categorical.items():
        if column not in obs:
            print(f"covariate '{column}': there is no such obs column; every cell gets zeros", file=sys.stderr)
            continue
        values = strings(obs, column, "covariates.categorical")
        new = sorted(set(values) - set(known))
        if new:
            n = int(np.isin(values, new).sum())
            shown = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
            print(f"covariate '{column}': training did not see {shown}; {n} cells get zeros", file=sys.stderr)


def _codes(obs: pd.DataFrame, column: str | None, names: Sequence[str]) -> np.ndarray:
    if column is None or column not in obs:
        return np.full(len(obs), -1, dtype=np.int64)
    return pd.Index(names, dtype=object).get_indexer(strings(obs, column, column)).astype(np.int64)
