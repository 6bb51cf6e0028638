"""Where the counts of a training lie, decided from sizes in one place.

On the device as one matrix where that fits comfortably, because rows are then gathered there; else in the mapped
file, from which a thread gathers the next batches. True random rows while the file fits the page cache, else blocks of
neighbouring rows, because each random row would cost a disk access.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

SHARE_FOR_MATRIX = 0.4
"""Share of the free memory that a resident matrix may take: the model, its gradients and other jobs need the rest."""
SHARE_FOR_CACHE = 0.8
"""Share of the free memory that is counted on as page cache."""
BLOCK_ROWS = 64
"""Neighbouring rows read together where the file does not fit the page cache."""


@dataclass(frozen=True)
class Placement:
    """What was decided, and a sentence that says why. block_rows None: true random rows."""

    resident: bool
    block_rows: int | None
    why: str


def place(matrix_bytes: int, file_bytes: int, device_memory: int, host_memory: int, what: str = "dense") -> Placement:
    """Decide from sizes: the matrix, the mapped file, free memory of the device and of this machine (bytes).

    what: "dense" or "sparse", how the matrix would lie on the device.
    """
    matrix, free = _size(matrix_bytes), _size(device_memory)
    if matrix_bytes <= SHARE_FOR_MATRIX * device_memory:
        return Placement(True, None, f"resident: the {what} counts ({matrix}) fit the device's free memory ({free})")
    why = f"streamed: the {what} counts ({matrix}) are too large for the device's free memory ({free})"
    if file_bytes <= SHARE_FOR_CACHE * host_memory:
        return Placement(False, None, f"{why}; random rows from the file, which fits the page cache")
    cache = f"the file ({_size(file_bytes)}) exceeds the page cache ({_size(host_memory)})"
    return Placement(False, BLOCK_ROWS, f"{why}; shuffled blocks of {BLOCK_ROWS} rows, because {cache}")


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may still use: the machine's, or less under a limit of its control group."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # where the kernel says nothing better
    with contextlib.suppress(OSError, StopIteration):
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    with contextlib.suppress(OSError):
        for line in (proc / "self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:  # version 2
                free = min([free, *_left(groups, group, "memory.max", "anon")])
            elif "memory" in controllers.split(","):
                free = min([free, *_left(groups / "memory", group, "memory.limit_in_bytes", "total_rss")])
    return free


def _left(root: Path, group: str, limit: str, used: str) -> list[int]:
    """Bytes that the limits of a control group and of those around it leave."""
    left = []
    folder = root / group.lstrip("/")
    for around in [folder, *folder.parents]:
        with contextlib.suppress(OSError):
            allowed = (around / limit).read_text(encoding="ascii").strip()
            statistics = dict(line.split() for line in (around / "memory.stat").read_text("ascii").splitlines())
            if allowed.isdigit():
                left.append(max(0, int(allowed) - int(statistics.get(used, 0))))
        if around == root:
            break
    return left


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
