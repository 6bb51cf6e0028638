"""Which jobs of a results folder seem to run, by their logs alone: for a second terminal, or another machine."""

from __future__ import annotations

import time
from pathlib import Path

from sclamp.core.progress import duration
from sclamp.watch.logs import tail, unfinished

QUIET = 60.0
"""Seconds without news from which on that is worth telling."""
_FOLDERS = ("logs", "datasets/*/logs", "datasets/*/models/*/*/logs")
_GENERAL = {"datasets", "models"}


def running(results: Path, minutes: float) -> list[tuple[str, float, str]]:
    """(job, seconds since its last line, that line) of jobs that did not end well and said something lately."""
    found = []
    for log in sorted(log for folder in _FOLDERS for log in results.glob(f"{folder}/*.log")):
        age = time.time() - log.stat().st_mtime
        if age <= 60 * minutes and unfinished(log):
            owner = "/".join(part for part in log.parent.parent.relative_to(results).parts if part not in _GENERAL)
            found.append((f"{owner} {log.stem}".strip(), age, (tail(log, 1) or ["(no words yet)"])[0]))
    return found


def lines(results: Path, minutes: float) -> list[str]:
    """One line on each such job."""
    found = running(results, minutes)
    told = [f"{name}: {line}" + (f" ({duration(age)} ago)" if age > QUIET else "") for name, age, line in found]
    return told or [f"No job under {results} has said anything in the last {minutes:g} minutes and is not finished."]
