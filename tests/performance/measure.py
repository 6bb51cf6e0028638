"""What the speed claims share: alternating rounds on one thread, CPU time, and the line that says how it ended.

CPU time of the process (all its threads) counts, not wall time, so that other work on the machine disturbs little. In
each round every contender runs once; a claim is the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

NOT_RUN = 3
"""Exit status of a claim that could not be tried, for want of its anchor."""

Contender = Callable[[], tuple[int, float]]
"""Does some work and returns how many cells it handled in how many CPU seconds."""


def hardware() -> str:
    """Processor and versions that figures depend on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def timed(work: Callable[[], int]) -> Contender:
    """A contender whose whole work counts; `work` returns its number of cells."""

    def run() -> tuple[int, float]:
        start = time.process_time()
        cells = work()
        return cells, time.process_time() - start

    return run


def alternate(contenders: Mapping[str, Contender], rounds: int, unit: str = "CPU second") -> dict[str, list[float]]:
    """Cells per CPU second of each contender in each round, after a round that does not count.

    unit: what the contenders' seconds are called.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            cells, seconds = run()
            if number:
                rates[name].append(cells / seconds)
    for name, values in rates.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f} in {rounds} rounds"
        print(f"  {name}: {statistics.median(values):,.0f} cells per {unit} ({spread})", flush=True)
    return rates


def ratio(ours: list[float], anchor: list[float]) -> float:
    """Median over rounds of ours over the anchor's."""
    return statistics.median(a / b for a, b in zip(ours, anchor, strict=True))


def verdict(name: str, value: float, goal: float) -> bool:
    """Print the line of a claim; True when it holds."""
    print(f"{name} ratio={value:.2f} goal={goal:g}", flush=True)
    return value >= goal


def cpu_seconds(command: list[str], **more: object) -> float:
    """CPU seconds that a command and its children spend; a failing command ends the script with its output."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
