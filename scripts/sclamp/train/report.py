"""Tells how a training stands: one line that renews itself on a terminal; in a log a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO, Any

from sclamp.core.progress import Line, duration

EPOCHS_LOOKED_BACK = 10
"""Epochs from whose duration the time left is told."""


class Report:
    """Speaks for one training as this process goes on with it; times go to the log only, never into files.

    The clock starts when the first step has ended: that one compiles, starts readers and waits for other processes.
    """

    def __init__(self, max_epochs: int, cells_per_epoch: int, patience: int = 0, out: IO[str] | None = None) -> None:
        """patience: validations without improvement that end a training, 0 for none. out: standard error if None."""
        self._max_epochs, self._cells, self._patience = max_epochs, cells_per_epoch, patience
        self._line = Line(out, shares=False)
        self._start: float | None = None
        self._epoch_start = self._last_step = 0.0
        self._timed = self._timed_in_epoch = 0
        self._durations: list[float] = []
        self._recent: float | None = None
        self._best = self._losses = ""

    def step(self, epoch: int, done: int, cells: int) -> None:
        """A step of `cells` cells has ended; `done` cells of this epoch have been seen."""
        self._last_step = time.monotonic()
        if self._start is None:
            self._start = self._epoch_start = self._last_step
        else:
            self._timed += cells
            self._timed_in_epoch += cells
        if self._line.due():
            self._line.show(self._text(epoch, done))

    def validating(self, epoch: int, done: int, cells: int) -> None:
        """After this epoch, `done` of `cells` validation cells have been looked at."""
        if self._line.due():
            self._line.show(f"epoch {epoch + 1}/{self._max_epochs}: validated {done:,} of {cells:,} cells")

    def epoch(self, row: Mapping[str, Any], best_loss: float, waited: int = 0) -> float | None:
        """An epoch has ended with this row of the history; returns its training cells per second, if they are known.

        best_loss: infinite before the first checkpoint. waited: validations since the last improvement.
        """
        now, timed = time.monotonic(), self._timed_in_epoch
        training = self._last_step - self._epoch_start
        self._recent = timed / training if timed and training > 0 else None
        if 2 * timed >= self._cells:  # of an epoch that was resumed near its end, the validation would weigh too much
            self._durations.append((now - self._epoch_start) * self._cells / timed)
        self._epoch_start, self._timed_in_epoch = now, 0
        self._best = f", best {best_loss:.4g}" if best_loss < float("inf") else ""
        losses = [f"{name} loss {row[f'{name}_loss']:.4g}" for name in ("train", "val") if row.get(f"{name}_loss")]
        if waited and self._patience:
            losses.append(f"not better in {waited} of {self._patience} validations")
        self._losses = "".join(f", {part}" for part in losses)
        return self._recent

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self._line.say(text)

    def speed(self) -> str:
        """Cells per second and seconds per epoch, validations included, since this process began."""
        if not self._timed:
            return "too short to be timed"
        lasted = f", {duration(self._per_epoch())} per epoch" if self._per_epoch() >= 1 else ""
        return f"{self._rate():,.0f} cells/s{lasted}"

    def _rate(self) -> float:
        return self._timed / max(time.monotonic() - (self._start or 0.0), 1e-9)

    def _per_epoch(self) -> float:
        """Seconds that an epoch takes: of those that have ended, the first only where it is alone."""
        known = self._durations[1:][-EPOCHS_LOOKED_BACK:] or self._durations
        return sum(known) / len(known) if known else self._cells / self._rate()

    def _text(self, epoch: int, done: int) -> str:
        text = f"epoch {epoch + 1}/{self._max_epochs} ({done / self._cells:.0%}){self._best}"
        if self._timed:
            left = (self._max_epochs - epoch - done / self._cells) * self._per_epoch()
            text += f", at most {duration(left)} left, {self._recent or self._rate():,.0f} cells/s"
        return f"{text}{self._losses}"  # last what a narrow terminal may cut
