"""Checksums at the end of our .h5ad files: HDF5 has none for what lies in one piece, nor for its own tables.

HDF5 does not look beyond its own end, so any program reads a sealed file. What changes one drops the seal with it.
The three arrays of the counts have a checksum each, all other bytes have one together: who wants no counts need not
read them.
"""

from __future__ import annotations

import functools
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sclamp.core.errors import UserError

_MARK = b"sclamp checksums"
_TAIL = struct.Struct("<II16s")  # bytes and checksum of the text before it, the mark
PIECE = 1 << 24
"""Bytes that are read at a time."""


class Part(NamedTuple):
    """An array in a file: offset, bytes, CRC-32."""

    offset: int
    size: int
    crc: int


def seal(path: Path, parts: Mapping[str, Part]) -> None:
    """Append the checksums to a finished file. parts: the arrays, whose checksums are known from writing them."""
    end = path.stat().st_size
    rest = _rest(path, end, parts.values())
    text = json.dumps({"rest": [0, end, rest], **{name: list(part) for name, part in parts.items()}}).encode()
    with open(path, "ab") as file:
        file.write(text + _TAIL.pack(len(text), zlib.crc32(text), _MARK))


def sealed_parts(path: str | Path) -> dict[str, Part]:
    """The arrays of a sealed file, after a look at all its other bytes; empty for a file without a seal.

    Errors (`UserError`): bytes that do not fit their checksum.
    """
    state = Path(path).stat()
    return _checked(str(path), state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # a job opens its files several times
def _checked(path: str, _inode: int, size: int, _time: int) -> dict[str, Part]:
    parts = _read(path, size)
    if parts:
        whole = parts.pop("rest")
        if _rest(Path(path), whole.size, parts.values()) != whole.crc:
            raise damaged(path, "its tables do not fit their checksum")
    return parts


def damaged(path: str | Path, what: str) -> UserError:
    """The error about a sealed file."""
    return UserError(
        f"{path}: damaged, or changed by another program: {what}. Delete it and run again; if that recurs, look at "
        "the disk and the memory."
    )


def _read(path: str, size: int) -> dict[str, Part]:
    with open(path, "rb") as file:
        if size < _TAIL.size:
            return {}
        file.seek(size - _TAIL.size)
        length, crc, mark = _TAIL.unpack(file.read())
        if mark != _MARK:
            return {}
        length = min(length, size - _TAIL.size)
        file.seek(size - _TAIL.size - length)
        text = file.read(length)
    if zlib.crc32(text) != crc:
        raise damaged(path, "its checksums are damaged themselves")
    raw: dict[str, Any] = json.loads(text)
    return {name: Part(*numbers) for name, numbers in raw.items()}


def _rest(path: Path, end: int, parts: Iterable[Part]) -> int:
    """Checksum of all bytes before `end` that are in none of the arrays."""
    crc, at = 0, 0
    with open(path, "rb") as file:
        for start, size in [*sorted((part.offset, part.size) for part in parts if part.size), (end, 0)]:
            file.seek(at)
            left = start - at
            while left > 0:
                piece = file.read(min(left, PIECE))
                if not piece:
                    break
                crc, left = zlib.crc32(piece, crc), left - len(piece)
            at = start + size
    return crc
