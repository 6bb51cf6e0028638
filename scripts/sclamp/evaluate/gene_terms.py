"""Annotation terms of genes: reading them, and finding the terms that a group of genes has more often than chance."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammaln

from sclamp.core.errors import UserError, unknown
from sclamp.evaluate.gene_markers import genes_by_name

MIN_GENES, MAX_GENES = 5, 500
"""Embedded genes of a term that is tested: smaller ones cannot be significant, larger ones say little."""


class Terms(NamedTuple):
    """Annotation of g genes.

    names (t,): terms of MIN_GENES to MAX_GENES genes. member (t, g): CSR, 1 where a gene has the term. annotated (g,)
    bool: genes with any term, of whatever size.
    """

    names: np.ndarray
    member: sparse.csr_matrix
    annotated: np.ndarray


def read_terms(path: str | Path, symbols: pd.Series) -> pd.DataFrame:
    """Read a GMT (term, description, genes; no header) or a TSV or CSV with columns term and gene; each may be gzipped.

    Genes are given by symbol or by id, in capitals or not. symbols: gene id -> symbol of the data's genes; other genes
    are skipped. Returns columns term, gene_id, each pair once, sorted. Errors name file, line or column; no known gene
    at all is one.
    """
    text = _text(path)
    pairs = _gmt(path, text) if ".gmt" in Path(path).suffixes else _table(path, text)
    given = pairs["gene"].nunique()
    pairs["gene_id"] = pairs["gene"].str.upper().map(genes_by_name(symbols))
    found = pairs.dropna(subset=["gene_id"])[["term", "gene_id"]].drop_duplicates()
    if found.empty:
        shown = ", ".join(f"'{name}'" for name in pairs["gene"].unique()[:3])
        ours = ", ".join(f"'{name}'" for name in symbols.iloc[:3])
        raise UserError(
            f"{path}: 0 of its {given} genes ({shown or 'none'}, ...) are among the {len(symbols)} genes of the data "
            f"({ours}, ...); symbols or gene ids of the data are expected."
        )
    return found.sort_values(["term", "gene_id"], kind="stable").reset_index(drop=True)


def _text(path: str | Path) -> str:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    content = Path(path).read_bytes()
    try:
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text or gzipped text ({error}).") from error


def _gmt(path: str | Path, text: str) -> pd.DataFrame:
    pairs, problems = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        term, *rest = (field.strip() for field in line.split("\t"))
        if len(rest) < 2 and line.strip():
            problems.append(
                f"{path}: line {number} has {len(rest) + 1} tab-separated fields; a term, its description and at least "
                "one gene are expected."
            )
        pairs += [(term, gene) for gene in rest[1:] if gene]
    if problems:
        raise UserError(*problems[:5])
    return pd.DataFrame(pairs, columns=["term", "gene"], dtype=object)


def _table(path: str | Path, text: str) -> pd.DataFrame:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    header = next(lines, "")
    separator = "\t" if "\t" in header else ","
    columns = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
    if missing := [name for name in ("term", "gene") if name not in columns]:
        raise UserError(
            *(f"{path}: " + unknown("column", name, columns) for name in missing),
            *([f"{path}: a GMT file is recognised by its name (.gmt or .gmt.gz)."] if len(columns) > 3 else []),
        )
    body = io.StringIO("\n".join(lines))
    table = pd.read_csv(
        body, sep=separator, names=columns, usecols=["term", "gene"], dtype=str, keep_default_na=False, index_col=False
    )
    table = table.apply(lambda column: column.str.strip())
    return table[(table["term"] != "") & (table["gene"] != "")]


def terms_of(pairs: pd.DataFrame, genes: np.ndarray) -> Terms:
    """The terms of some genes (g,), of those pairs (columns term, gene_id) that are about them."""
    column = pd.Index(genes).get_indexer(pairs["gene_id"])
    pairs, column = pairs[column >= 0], column[column >= 0]
    names, row = np.unique(pairs["term"].to_numpy(dtype=str), return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=(len(names), len(genes)))
    sizes = np.diff(member.indptr)
    kept = np.flatnonzero((sizes >= MIN_GENES) & (sizes <= MAX_GENES))
    return Terms(names[kept], member[kept], np.bincount(column, minlength=len(genes)) > 0)


def upper_tail(overlap: np.ndarray, drawn: np.ndarray, marked: np.ndarray, total: int) -> np.ndarray:
    """P(at least `overlap` marked genes among `drawn`), where `marked` of `total` genes are marked; hypergeometric.

    overlap, drawn, marked: (n,) counts. The first probability by log-gamma, the others by their ratios.
    """
    k, n, m = (np.asarray(count, dtype=np.float64) for count in (overlap, drawn, marked))
    first = _log_choose(m, k) + _log_choose(total - m, n - k) - _log_choose(np.full_like(n, total), n)
    relative, ratio = np.ones_like(k), np.ones_like(k)
    with np.errstate(over="ignore", under="ignore"):
        for _ in range(int(np.minimum(n, m).max(initial=0))):
            ratio = ratio * np.maximum((m - k) * (n - k), 0) / ((k + 1) * np.maximum(total - m - n + k + 1, 1))
            relative, k = relative + ratio, k + 1
            if (ratio <= 1e-17 * relative).all():
                break
        # Infinite sums belong to a first probability that underflowed far below the mean: the tail is 1.
        tail = np.exp(first + np.log(relative))
    return np.where(np.asarray(overlap) <= 0, 1.0, np.minimum(tail, 1.0))


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def adjusted(p: np.ndarray) -> np.ndarray:
    """P values (n,) for the false discovery rate of Benjamini and Hochberg (1995)."""
    order = np.argsort(-p, kind="stable")
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return np.minimum(found, 1)
