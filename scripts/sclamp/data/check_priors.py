"""How many of a dataset's genes a gene prior can cover, from its ids alone: no vector is read, nothing is embedded."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sclamp.config.gene_priors import AnyGenePrior, FilePrior, ProteinPrior, TextPrior
from sclamp.core.errors import UserError, unknown
from sclamp.data.findings import Finding
from sclamp.data.genes import without_version


def prior_findings(name: str, prior: AnyGenePrior, var: pd.DataFrame) -> list[Finding]:
    """Coverage of the genes by ids and symbols; aliases and orthologs can only add to it.

    var: genes that pass quality control; index ids, columns symbol and total_counts.
    """
    check = f"prior '{name}'"
    if not isinstance(prior, TextPrior | ProteinPrior | FilePrior):
        return [Finding(check, "skipped", f"source {prior.source}: made from the data or from another prior")]
    try:
        ids = _ids(name, prior)
    except UserError as error:
        return [Finding(check, "error", problem) for problem in error.problems]
    if ids is None:
        return [Finding(check, "skipped", "its genes are not known without reading it as a whole")]
    known = {without_version(i) for i in ids} | set(ids)
    by_id = np.array([g in known or without_version(g) in known for g in var.index])
    found = by_id | var["symbol"].isin(known).to_numpy()
    genes, counts = found.mean(), (var["total_counts"] * found).sum() / max(var["total_counts"].sum(), 1.0)
    more = prior.matching.aliases or prior.matching.orthologs
    message = f"{'at least ' if more else ''}{genes:.1%} of the genes, with {counts:.1%} of the counts"
    if not found.any() and not more:
        message = (
            f"gene_priors.{name}: none of its {len(ids)} genes (such as {', '.join(sorted(ids)[:3])}) is in the data "
            f"(such as {', '.join(var.index[:3])}); is it of another species, or are the ids of another kind?"
        )
        return [Finding(check, "error", message)]
    if genes < prior.matching.min_coverage:
        message += f"; min_coverage {prior.matching.min_coverage:g} is asked of the selected genes"
        return [Finding(check, "warning", f"gene_priors.{name}: covers {message}.")]
    return [Finding(check, "ok", f"covers {message}")]


def _ids(name: str, prior: TextPrior | ProteinPrior | FilePrior) -> set[str] | None:
    """Gene ids of a prior; None for formats that give them only with the vectors."""
    if isinstance(prior, ProteinPrior):
        return _fasta_ids(_existing(name, "fasta", prior.fasta))
    if isinstance(prior, TextPrior):
        return _column(_existing(name, "table", prior.table), prior.id_column, name)
    path = _existing(name, "path", prior.path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            if prior.id_column not in arrays:
                raise UserError(f"gene_priors.{name}: {path}: " + unknown("array", prior.id_column, arrays))
            return set(arrays[prior.id_column].astype(str))
    if path.suffix == ".parquet" or _separator(path):
        return _column(path, prior.id_column, name)
    return None


def _existing(name: str, key: str, path: str) -> Path:
    if not Path(path).is_file():
        raise UserError(f"gene_priors.{name}.{key}: '{path}' does not exist.")
    return Path(path)


def _separator(path: Path) -> str | None:
    endings = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
    return endings.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)


def _column(path: Path, column: str, name: str) -> set[str]:
    """The values of one column of a table, read alone."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            names: Iterable[Any] = pq.read_schema(path).names
            values = pq.read_table(path, columns=[column])[column].to_pylist() if column in names else None
        else:
            options: dict[str, Any] = {"sep": _separator(path) or "\t", "dtype": str, "keep_default_na": False}
            names = pd.read_csv(path, nrows=0, **options).columns
            values = pd.read_csv(path, usecols=[column], **options)[column].tolist() if column in names else None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"gene_priors.{name}: {path} cannot be read as a table ({error}).") from error
    if values is None:
        raise UserError(f"gene_priors.{name}: {path}: " + unknown("column", column, names))
    return {str(value) for value in values}


def _fasta_ids(path: Path) -> set[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as lines:
        return {line[1:].split(maxsplit=1)[0] for line in lines if line.startswith(">") and line[1:].strip()}
