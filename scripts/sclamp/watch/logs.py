"""Logs of jobs: which of them did not end well, and their last lines."""

from __future__ import annotations

from pathlib import Path

LINES = 15
_BYTES = 64_000
_WIDTH = 2000


def unfinished(log: Path) -> bool:
    """A job that started and did not end well, or not yet: its log has no benchmark as young as itself.

    Snakemake writes the benchmark only when a job succeeds.
    """
    benchmark = log.with_suffix(".benchmark.tsv")
    return log.is_file() and not (benchmark.is_file() and benchmark.stat().st_mtime >= log.stat().st_mtime)


def tail(log: Path, lines: int = LINES) -> list[str]:
    """The last lines of a log, without what a renewed line overwrote; of a long file only the end is read."""
    with open(log, "rb") as handle:
        handle.seek(max(0, log.stat().st_size - _BYTES))
        text = handle.read().decode("utf-8", errors="replace")
    found = [line.rsplit("\r", 1)[-1].rstrip()[:_WIDTH] for line in text.rstrip().split("\n")]
    return found[-lines:] if any(found) else []
