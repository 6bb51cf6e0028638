"""Gene vectors: what every source produces, checked once, and their Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table, write_table
from sclamp.priors.names import OTHER_IDS, GeneNames


@dataclass(frozen=True)
class GeneVectors:
    """Embeddings of n genes: names (n), vectors (n, k) float32, all finite.

    An id may occur more than once: what becomes of that is decided when genes are matched.
    """

    names: GeneNames
    vectors: np.ndarray

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.names):
            raise ValueError(f"vectors of shape {self.vectors.shape} for {len(self.names)} genes")


def stacked(origin: str | Path, ids: Sequence[str], rows: Iterable[Any]) -> np.ndarray:
    """Stack one vector per gene to (n, k) float32.

    Errors, all at once: no genes, a gene without id, vectors of unequal length, values that are no finite numbers.
    origin: what messages name.
    """
    if not len(ids):
        raise UserError(f"{origin}: holds no genes.")
    problems = []
    unnamed = [row for row, name in enumerate(ids) if not name]
    if unnamed:
        problems.append(f"{origin}: {len(unnamed)} rows have no gene identifier; the first is row {unnamed[0] + 1}.")
    vectors, odd = _arrays(ids, rows)
    if odd:
        problems.append(f"{origin}: {len(odd)} vectors are not lists of numbers; the first is that of '{odd[0]}'.")
    lengths = np.array([len(v) for v in vectors])
    if not odd and (lengths != lengths[0]).any():
        other = int(np.flatnonzero(lengths != lengths[0])[0])
        found = f"'{ids[0]}' has {lengths[0]} values, '{ids[other]}' has {lengths[other]}"
        problems.append(f"{origin}: vectors of unequal length: {found}.")
    elif not odd and lengths[0] == 0:
        problems.append(f"{origin}: vectors are empty.")
    bad = [name for name, v in zip(ids, vectors, strict=True) if not np.isfinite(v).all()]
    if bad:
        problems.append(f"{origin}: {len(bad)} vectors hold NaN or infinite values; the first is that of '{bad[0]}'.")
    if problems:
        raise UserError(*problems)
    return np.stack(vectors)


def _arrays(ids: Sequence[str], rows: Iterable[Any]) -> tuple[list[np.ndarray], list[str]]:
    """Each row as a float32 vector, and the ids of rows that are none (their vector is empty)."""
    vectors, odd = [], []
    with np.errstate(over="ignore"):  # what overflows float32 is reported as infinite
        for name, row in zip(ids, rows, strict=True):
            try:
                vector = np.asarray([] if row is None else row, dtype=np.float32)
            except (TypeError, ValueError):
                vector = np.empty((0, 0), np.float32)
            if row is None or vector.ndim != 1:
                odd.append(name)
                vector = np.empty(0, np.float32)
            vectors.append(vector)
    return vectors, odd


def repeated(ids: Sequence[str]) -> list[str]:
    """Ids that occur more than once, in order of their first repetition."""
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in ids if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def vector_column(vectors: np.ndarray) -> Any:
    """(n, k) float32 as an Arrow column list<float>."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]).cast(pa.list_(pa.float32()))


def write_vectors(path: str | Path, genes: GeneVectors, provenance: dict[str, Any]) -> None:
    """Write gene_id (string), the further identifiers where known, and embedding (list<float>)."""
    import pyarrow as pa

    columns = {"gene_id": list(genes.names.ids), **genes.names.other_ids}
    table = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    write_table(path, pa.table({**table, "embedding": vector_column(genes.vectors)}), provenance)


def read_vectors(path: str | Path, id_column: str = "gene_id", embedding_column: str = "embedding") -> GeneVectors:
    """Read a Parquet table of gene vectors: ours, or anybody's with these two columns.

    Errors: no such file, a damaged file, a missing column, and those of `stacked`.
    """
    import pyarrow as pa

    table = read_table(path)
    try:
        table.validate(full=True)  # names that are no text, lists that reach beyond their values
    except pa.ArrowException as error:
        raise UserError(f"{path}: damaged ({error}).") from error
    wanted = {"id_column": id_column, "embedding_column": embedding_column}
    missing = {key: column for key, column in wanted.items() if column not in table.column_names}
    if missing:
        known = table.column_names
        raise UserError(*(f"{path}: " + unknown(f"{key}: column", column, known) for key, column in missing.items()))
    other = {c: _names(table[c]) for c in OTHER_IDS if c in table.column_names and c != id_column}
    names = GeneNames(_names(table[id_column]), other.get("symbol", ()), other.get("ensembl", ()))
    column = table[embedding_column].combine_chunks()
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(column.type) for is_kind in lists):
        raise UserError(f"{path}: column '{embedding_column}' holds {column.type}; lists of numbers are expected.")
    return GeneVectors(names, stacked(path, names.ids, column.to_numpy(zero_copy_only=False)))


def _names(column: Any) -> list[str]:
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
