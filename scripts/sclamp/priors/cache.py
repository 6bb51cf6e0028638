"""What was embedded once is not embedded again: vectors of texts or sequences, by model and by content.

A cache is a folder of Parquet parts (key, truncated, embedding), one folder per model and settings. Parts are written
aside and renamed and never changed, so several jobs can share a cache and an interrupted one leaves whole parts behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.errors import UserError
from sclamp.core.files import read_table, write_table
from sclamp.priors.vectors import vector_column


def content_key(text: str) -> str:
    """Digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


class VectorCache:
    """Vectors of one model by the digest of what they were made of; each with a mark when its text was cut."""

    def __init__(self, folder: str | Path | None, identity: str) -> None:
        """folder: of all caches, or None to keep nothing. identity: digest of the model and its settings."""
        self.folder = Path(folder) / identity[:32] if folder else None
        self._known: dict[str, tuple[np.ndarray, bool]] = {}
        self._fresh: list[str] = []
        for part in sorted(self.folder.glob("part-*.parquet")) if self.folder else ():
            self._known.update(_read(part))

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> tuple[np.ndarray, bool]:
        return self._known[key]

    def add(self, keys: Iterable[str], vectors: np.ndarray, truncated: Iterable[bool]) -> None:
        """Take in new vectors (n, k); they reach the disk with the next `flush`."""
        for key, vector, cut in zip(keys, np.asarray(vectors, np.float32), truncated, strict=True):
            self._known[key] = (vector, bool(cut))
            self._fresh.append(key)

    def flush(self) -> None:
        """Write what is new as one part."""
        if self.folder and self._fresh:
            name = hashlib.sha256("\n".join(self._fresh).encode()).hexdigest()[:32]
            rows = [self._known[key] for key in self._fresh]
            columns = {
                "key": self._fresh,
                "truncated": [cut for _, cut in rows],
                "embedding": vector_column(np.stack([vector for vector, _ in rows])),
            }
            write_table(self.folder / f"part-{name}.parquet", columns)
        self._fresh = []


def _read(part: Path) -> dict[str, tuple[np.ndarray, bool]]:
    try:
        table: Any = read_table(part)
        vectors = table["embedding"].combine_chunks().to_numpy(zero_copy_only=False)
        pairs = zip(vectors, table["truncated"].to_pylist(), strict=True)
        return dict(zip(table["key"].to_pylist(), pairs, strict=True))
    except (UserError, KeyError) as error:
        raise UserError(f"{part}: damaged cache file; delete it and run again.") from error
