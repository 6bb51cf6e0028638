"""One process at a time trains into a folder.

A workflow that died leaves the jobs of its cluster running; started again, it submits their trainings a second time.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sclamp.core.errors import UserError
from sclamp.core.files import beside, problem_of_writing


@contextmanager
def alone(model: Path) -> Iterator[bool]:
    """Wait until no other process trains `model`; True where there was one to wait for.

    The lock is on a hidden file beside the model and ends with the process, however that ends. On a file system that
    knows no locks nothing is waited for.
    """
    path = beside(model, ".lock")
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        handle, waited = _locked(path)
    except OSError as error:
        raise UserError(f"{model}: {problem_of_writing(model, path, error) or error}") from error
    try:
        yield waited
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is held: who waits for it notices, see `_locked`
            handle.close()


def _locked(path: Path) -> tuple[IO[str] | None, bool]:
    """The open, locked file (None: no locks here), and whether another process had it."""
    waited = False
    while True:
        handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - open for as long as the lock is held
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            handle.seek(0)
            print(f"waiting: {handle.read().strip() or 'another process'} trains the same model", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # not supported by the file system
            handle.close()
            return None, False
        if _is_still(path, handle):
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            handle.flush()
            return handle, waited
        handle.close()  # the one before has removed the file: lock the one that is there now


def _is_still(path: Path, handle: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle.fileno()).st_ino
    except FileNotFoundError:
        return False
