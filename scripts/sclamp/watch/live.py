"""A block of lines at the bottom of the terminal: how far the workflow is, and the last words of each running job."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from sclamp.core.progress import duration
from sclamp.watch.jobs import Job, Jobs
from sclamp.watch.logs import tail

SECONDS = 1.0
"""Between two renewals."""
MOST = 12
"""Jobs shown at once."""


class Block:
    """Lines that are written over one another, and taken away before anything else is printed."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._height = out, 0
        self._lock = threading.RLock()

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those before."""
        width = shutil.get_terminal_size().columns - 1  # a line that wraps would not be found again
        with self._lock:
            up = f"\x1b[{self._height}A" if self._height else ""
            print(f"{up}\r\x1b[J" + "".join(f"{line[:width]}\n" for line in lines), end="", file=self._out, flush=True)
            self._height = len(lines)

    def clear(self) -> None:
        """Take the lines away."""
        with self._lock:
            if self._height:
                self.draw([])


class _GivesWay(logging.Handler):
    """Takes the block away before Snakemake prints."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self._block = block

    def emit(self, record: logging.LogRecord) -> None:
        self._block.clear()


class Live:
    """Draws what runs every second, from a thread, as long as a workflow runs on a terminal."""

    def __init__(self, jobs: Jobs, logger: logging.Logger, out: IO[str] | None = None) -> None:
        self._jobs, self._logger = jobs, logger
        self._block = Block(out or sys.stderr)
        self._gives_way = _GivesWay(self._block)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin; Snakemake's own lines scroll on above the block."""
        self._logger.handlers.insert(0, self._gives_way)  # before the handler that prints
        self._thread.start()

    def end(self) -> None:
        """Take the block away for good."""
        self._ended.set()
        self._thread.join()
        self._block.clear()
        self._logger.removeHandler(self._gives_way)

    def _run(self) -> None:
        while not self._ended.wait(SECONDS):
            self._block.draw(status(self._jobs))


def status(jobs: Jobs) -> list[str]:
    """One line on the workflow, and one on each job that runs."""
    running = [jobs.jobs[number] for number in sorted(jobs.running) if number in jobs.jobs]
    failed = f", {len(jobs.failed)} failed" if jobs.failed else ""
    head = f"--- {len(jobs.done)} of {jobs.planned.total()} jobs done{failed}, {len(running)} running"
    lines = [_line(job) for job in running[:MOST]]
    more = [f"    and {len(running) - MOST} more"] if len(running) > MOST else []
    return [f"{head}, for {duration(time.time() - jobs.start)}", *lines, *more]


def _line(job: Job) -> str:
    values = " ".join(part.partition("=")[2] for part in job.wildcards.split(", "))
    name = f"  {job.rule} {values}".rstrip()
    logs = job.own_logs()
    if not logs:
        return f"{name}: {'running' if job.local else 'waiting for its turn, or starting'}"
    return f"{name}: {(tail(logs[0], 1) or ['started'])[0]}"


def follow(look: Callable[[], Sequence[str]], out: IO[str], seconds: float) -> None:
    """Show what `look` gives until the user has seen enough: renewed on a terminal, once elsewhere."""
    if not out.isatty():
        print(*look(), sep="\n", file=out)
        return
    block = Block(out)
    try:
        while True:
            block.draw(look())
            time.sleep(seconds)
    except KeyboardInterrupt:
        pass
