"""Tells how a training stands: one line that renews itself on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

SECONDS_BETWEEN_LINES = 15.0


class Report:
    """Speaks for one training; times go to the log only, never into files."""

    def __init__(self, max_epochs: int, cells_per_epoch: int, out: IO[str] | None = None) -> None:
        """out: standard error unless given."""
        self._max_epochs, self._cells = max_epochs, cells_per_epoch
        self._out = out or sys.stderr
        self._renews = self._out.isatty()
        self._start = self._last = time.monotonic()
        self._seen = 0
        self._losses = ""

    def step(self, epoch: int, done: int, cells: int) -> None:
        """A step of `cells` cells has ended; `done` cells of this epoch have been seen."""
        self._seen += cells
        now = time.monotonic()
        if now - self._last < (0.2 if self._renews else SECONDS_BETWEEN_LINES):
            return
        self._last = now
        rate = self._seen / (now - self._start)
        left = (self._max_epochs * self._cells - epoch * self._cells - done) / rate
        text = f"epoch {epoch + 1}/{self._max_epochs}{self._losses}, {rate:,.0f} cells/s, at most {_time(left)} left"
        print(f"\r\x1b[K{text}" if self._renews else text, end="" if self._renews else "\n", file=self._out, flush=True)

    def epoch(self, row: dict[str, Any], best_loss: float) -> None:
        """An epoch has ended with this row of the history; best_loss: infinite before the first checkpoint."""
        losses = [f"{name} loss {row[f'{name}_loss']:.4g}" for name in ("train", "val") if row.get(f"{name}_loss")]
        best = [f"best {best_loss:.4g}"] if best_loss < float("inf") else []
        self._losses = "".join(f", {part}" for part in [*losses, *best])

    def say(self, text: str) -> None:
        """Print a line of its own."""
        print(f"\r\x1b[K{text}" if self._renews else text, file=self._out, flush=True)

    @property
    def cells_per_second(self) -> float:
        """Training cells seen per second of wall time since the start."""
        return self._seen / max(time.monotonic() - self._start, 1e-9)


def _time(seconds: float) -> str:
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
