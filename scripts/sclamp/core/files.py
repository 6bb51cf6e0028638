"""Writing files aside and renaming them, tables with provenance, hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError
from sclamp.core.progress import doing

METADATA_KEY = b"sclamp"
MOST_IN_LISTS = 2**31 - 1
"""Values in one piece of a column of lists; pyarrow counts them in 32 bits, and past them wrongly, without a word."""
SPARE = 1 << 20
"""Bytes that HDF5 may need for its own tables."""
_HOST = os.uname().nodename
_LONGEST_NAME = 255
"""Bytes that a file's name may have on the usual file systems."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EROFS, errno.EPERM}
_IMPOSSIBLE = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextlib.contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it when the block succeeds; on failure leave nothing behind.

    What processes that were killed have left in the folder is removed. A full disk, a folder without write permission
    or a name that is too long becomes a `UserError` that names the file.
    """
    path = Path(path)
    aside = beside(path, f".{_HOST}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        yield aside
        with open(aside, "rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
    except UserError:
        raise
    except Exception as error:  # libraries word a full disk in their own ways
        if (problem := problem_of_writing(path, aside, error)) is not None:
            raise UserError(f"{path}: {problem}") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def beside(path: Path, ending: str) -> Path:
    """The path of a hidden file beside `path`; of a long name as much as fits."""
    room = _LONGEST_NAME - len(os.fsencode(ending)) - 1
    return path.with_name("." + os.fsencode(path.name)[:room].decode(errors="ignore") + ending)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files by processes of this machine that have ended; what cannot be removed stays."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            start, _, process = entry.name.removesuffix(".tmp").rpartition(".")
            ours = entry.name.endswith(".tmp") and start.endswith(f".{_HOST}") and process.isdigit()
            if ours and not _runs(int(process)):
                Path(entry).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        pass
    return True


def problem_of_writing(path: Path, aside: Path, error: BaseException) -> str | None:
    """What keeps `path` from being written, as a sentence; None where the error is about something else."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    for one in chain:
        number = getattr(one, "errno", None)
        if number in _FULL or os.strerror(errno.ENOSPC) in str(one):
            return "the disk is full; nothing was written. Free some space and run again."
        about = getattr(one, "filename", None)
        ours = about is not None and Path(os.fsdecode(about)) in {path, aside, *path.parents}
        if number in _FORBIDDEN and (ours or about is None):  # not: a file that cannot be read
            return f"no permission to write here ({os.strerror(number)})."
        if number in _IMPOSSIBLE and ours:
            return f"cannot be written ({os.strerror(number)})."
    return None


def take_space(path: Path, n_bytes: int) -> None:
    """Make a file longer by this many bytes, with their place on the disk.

    For libraries that cannot cope with a disk that fills up under them: HDF5 cuts off what it does not need.
    """
    with open(path, "ab") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), file.tell(), n_bytes)
        else:
            file.truncate(file.tell() + n_bytes)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file aside and rename it."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file aside and rename it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(path: str | Path, columns: Any, provenance: dict[str, Any] | None = None) -> None:
    """Write a Parquet table aside and rename it.

    columns: a pyarrow Table, a pandas DataFrame (its index is dropped), or a dict of name -> values.
    provenance: stored as JSON in the schema's metadata under the key "sclamp".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(columns, pa.Table):
        table = columns
    elif isinstance(columns, dict):
        table = pa.table(columns)
    else:
        table = pa.Table.from_pandas(columns, preserve_index=False)
    if provenance is not None:
        metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(provenance).encode()}
        table = table.replace_schema_metadata(metadata)
    with written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd", write_page_checksum=True)


def read_table(path: str | Path) -> Any:
    """Read a Parquet table (pyarrow); a missing or damaged file becomes a `UserError` that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        _ = table.column_names  # no checksum covers them
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from error
    return table


def provenance_of(table: Any) -> dict[str, Any]:
    """The provenance stored in a table's metadata; empty when there is none."""
    return json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))


def write_embedding(
    path: str | Path, id_column: str, ids: Any, embedding: Any, provenance: dict[str, Any], most: int = MOST_IN_LISTS
) -> None:
    """Write an (n, k) float32 array as Parquet with columns `id_column` (string) and "embedding" (list<float>).

    most: values that one piece of the column holds.
    """
    import numpy as np
    import pyarrow as pa

    matrix = np.ascontiguousarray(embedding, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != len(ids):
        raise ValueError(f"{path}: embedding of shape {matrix.shape} for {len(ids)} ids")
    rows = max(1, most // max(matrix.shape[1], 1))
    pieces = [matrix[first : first + rows] for first in range(0, len(matrix), rows)] or [matrix]
    values = (pa.FixedSizeListArray.from_arrays(pa.array(piece.ravel()), matrix.shape[1]) for piece in pieces)
    lists = pa.chunked_array([value.cast(pa.list_(pa.float32())) for value in values])
    write_table(path, pa.table({id_column: pa.array(ids, pa.string()), "embedding": lists}), provenance)


def read_embedding(path: str | Path, id_column: str) -> tuple[Any, Any]:
    """Read what `write_embedding` wrote: (ids as a numpy array of str, (n, k) float32).

    Errors: a missing column, duplicate ids, vectors of unequal length or with values that are not finite.
    """
    import numpy as np
    import pyarrow as pa

    from sclamp.core.errors import unknown

    table = read_table(path)
    missing = [c for c in (id_column, "embedding") if c not in table.column_names]
    if missing:
        raise UserError(*(f"{path}: " + unknown("column", c, table.column_names) for c in missing))
    ids = np.asarray(table[id_column].to_pylist(), dtype=object)
    column = table["embedding"]
    pieces = [np.asarray(piece.flatten(), dtype=np.float32) for piece in column.chunks]
    fixed = pa.types.is_fixed_size_list(column.type)
    lengths = np.concatenate([[], *(() if fixed else (piece.value_lengths() for piece in column.chunks))]).astype(int)
    if len(lengths) and (lengths != lengths[0]).any():
        odd = int(np.flatnonzero(lengths != lengths[0])[0])
        raise UserError(
            f"{path}: vectors of unequal length: '{ids[0]}' has {lengths[0]} values, '{ids[odd]}' has {lengths[odd]}."
        )
    values = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.float32), *pieces])
    matrix = values.reshape(len(ids), len(values) // max(len(ids), 1))
    problems = []
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        problems.append(
            f"{path}: {len(bad)} vectors hold NaN or infinite values; the first is that of '{ids[bad[0]]}'."
        )
    seen, counts = np.unique(ids.astype(str), return_counts=True)
    if (counts > 1).any():
        problems.append(
            f"{path}: {(counts > 1).sum()} ids of column {id_column} occur more than once; "
            f"the first is '{seen[counts > 1][0]}'."
        )
    if problems:
        raise UserError(*problems)
    return ids, matrix


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes."""
    with doing(f"hash of {path}"), open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
