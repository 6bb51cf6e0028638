"""Gene identifiers: which column holds them, what kind they are, which species they suggest."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.data.sources import Source

IdType = Literal["ensembl", "ensembl_versioned", "entrez", "symbol"]
Species = Literal["human", "mouse", "unknown"]

_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?$")


def gene_ids(source: Source, column: str | None) -> np.ndarray:
    """Gene ids of a source: a var column, or the var index (column None)."""
    if column is None:
        return source.var.index.to_numpy(dtype=object)
    return _column(source, column, "gene_ids")


def gene_symbols(source: Source, column: str | None, ids: np.ndarray) -> np.ndarray:
    """Gene symbols: a var column, else the column `symbol` where there is one, else the ids; gaps take the id."""
    if column is None and "symbol" not in source.var:
        return ids
    symbols = _column(source, column or "symbol", "gene_symbols")
    return np.where(pd.isna(symbols) | (symbols == ""), ids, symbols)


def _column(source: Source, column: str, key: str) -> np.ndarray:
    if column not in source.var:
        raise UserError(f"{source.name}: " + unknown(f"{key}: var column", column, source.var.columns))
    values = source.var[column].astype(object)
    return values.where(values.isna(), values.astype(str)).to_numpy(dtype=object)


def without_version(gene_id: str) -> str:
    """ENSG00000139618.17 -> ENSG00000139618; other ids stay as they are."""
    return gene_id.partition(".")[0] if _ENSEMBL.match(gene_id) else gene_id


def id_type(ids: np.ndarray) -> IdType:
    """The kind of most ids: Ensembl with or without version, Entrez numbers, else symbols."""
    matches = [_ENSEMBL.match(str(i)) for i in ids]
    ensembl = sum(m is not None for m in matches)
    if ensembl > len(ids) / 2:
        versioned = sum(m is not None and m.group(1) is not None for m in matches)
        return "ensembl_versioned" if versioned > ensembl / 2 else "ensembl"
    return "entrez" if sum(str(i).isdigit() for i in ids) > len(ids) / 2 else "symbol"


def species(ids: np.ndarray) -> Species:
    """A guess: human or mouse, by Ensembl's prefix, or by how symbols are written (human ACTB, mouse Actb)."""
    names = [str(i) for i in ids]
    if id_type(ids).startswith("ensembl"):
        counts = {
            "human": sum(n.startswith("ENSG0") for n in names),
            "mouse": sum(n.startswith("ENSMUSG") for n in names),
        }
    else:
        words = [n for n in names if re.match(r"[A-Za-z]{2}", n)]
        # Human names with lower-case letters exist (C1orf56), mouse names in capitals hardly do.
        counts = {"human": sum(w[:2].isupper() for w in words), "mouse": sum(w[:2].istitle() for w in words)}
    best: Species = "human" if counts["human"] >= counts["mouse"] else "mouse"
    return best if counts[best] > 0.6 * len(names) else "unknown"


def mitochondrial(symbols: np.ndarray, prefix: str) -> np.ndarray:
    """Mask of the genes whose symbol starts with `prefix`, upper or lower case."""
    return np.array([str(s).upper().startswith(prefix.upper()) for s in symbols], dtype=bool)
