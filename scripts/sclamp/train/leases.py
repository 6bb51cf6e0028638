"""Locks behind the leases of GPUs: files that the kernel unlocks when their process ends, however that ends.

Who waits for GPUs holds the turn, and takes each GPU that comes free until it has as many as it needs. So a job of
several GPUs is not overtaken for ever by jobs of one, and two of them never hold what the other waits for.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from weakref import WeakSet

_LOCKS: WeakSet[Lock] = WeakSet()


class Lock:
    """A locked file; a context manager. `taken` makes one."""

    def __init__(self, handle: IO[str]) -> None:
        self.handle = handle
        _LOCKS.add(self)

    def close(self) -> None:
        """Unlock."""
        self.handle.close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _leave_to_parent() -> None:
    """A forked child shares its parent's locks, and would keep them after the parent's end."""
    for lock in list(_LOCKS):
        lock.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def lock_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of this user's lock files."""
    root = environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(root) / f"sclamp-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def taken(path: Path, write: bool = True) -> Lock | None:
    """The lock on a file, or None while another process holds it. write: make the file where there is none."""
    handle = open(path, "a" if write else "r", encoding="utf-8")  # noqa: SIM115 - open for as long as it is locked
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return Lock(handle)


def wait_for_gpus(
    count: int, gpus: Sequence[str], slots: int, folder: Path, seconds: float
) -> tuple[list[str], list[Lock]]:
    """Lock `count` different GPUs, each with fewer than `slots` jobs; returns their names, and the locks."""
    said = False
    held: dict[str, Lock] = {}
    turn = None
    while True:
        turn = turn or taken(folder / "turn.lock")
        for slot in range(slots if turn else 0):  # all GPUs before a second job on one of them
            for gpu in gpus:
                if len(held) < count and gpu not in held:
                    lock = taken(folder / f"{gpu.replace('/', '_')}.{slot}.lock")
                    held |= {gpu: lock} if lock else {}
        if turn and len(held) == count:
            turn.close()
            return list(held), list(held.values())
        if not said:
            what = "one" if count == 1 else str(count)
            jobs = f"{slots} job{'s' * (slots > 1)} each"
            print(f"device: waiting for {what} of the GPUs {', '.join(gpus)} ({jobs})", file=sys.stderr, flush=True)
            said = True
        time.sleep(seconds)


class FirstProcess:
    """How the first process that torchrun starts on a machine tells the others which GPUs it has leased for them.

    The file holds while the first process has it locked: one that was left by a killed job is not believed.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        names = (environment.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_PORT"))
        parts = [str(os.getppid()), *names]  # the others have the same parent
        self.path = folder / ("-".join("".join(c for c in part if c.isalnum()) for part in parts) + ".group")

    def tell(self, gpus: Sequence[str]) -> Lock:
        """Write down the GPUs; keep the lock as long as they are leased."""
        self.path.unlink(missing_ok=True)
        lock = taken(self.path)
        assert lock is not None, "nobody else writes this file"
        lock.handle.write(",".join(gpus) + "\n")
        lock.handle.flush()
        return lock

    def hear(self, seconds: float) -> list[str]:
        """Wait for what the first process says."""
        while True:
            try:
                lock = taken(self.path, write=False)
                said = self.path.read_text(encoding="utf-8")
            except FileNotFoundError:
                lock, said = None, ""
            if lock is None and said.endswith("\n"):
                return said.strip().split(",")
            if lock is not None:
                lock.close()
            time.sleep(seconds)
