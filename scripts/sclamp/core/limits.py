"""A bound on the memory that reading one file may take: what unpacks itself to terabytes ends in a message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sclamp.core.errors import UserError

BASE, FACTOR = 4 << 30, 64
"""Bytes that any file may take, and bytes for each of its own."""


@contextlib.contextmanager
def memory_for(path: str | Path) -> Iterator[None]:
    """Within the block this process may take 4 GB and 64 bytes for each byte of the file, where Linux counts them.

    Errors: `UserError` naming the file when that, or the machine's memory, is not enough.
    """
    allowed = BASE + FACTOR * (Path(path).stat().st_size if Path(path).is_file() else 0)
    try:
        with _limited(allowed):
            yield
    except MemoryError as error:
        raise UserError(
            f"{path}: takes more than {allowed / 1e9:.3g} GB, or than the memory of this machine, when it is unpacked; "
            "damaged, or made to do harm."
        ) from error


@contextlib.contextmanager
def _limited(more: int) -> Iterator[None]:
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):  # not Linux: no limit
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more
    if any(limit != resource.RLIM_INFINITY and limit <= wanted for limit in (soft, hard)):
        yield  # there is a narrower limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
