"""Progress: one line that renews itself on a terminal, sparse lines in a log."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TypeVar

T = TypeVar("T")

FIRST, BETWEEN, RENEWED = 1.0, 15.0, 0.2
"""Seconds until the first line of a log, between two of its lines, and between two renewals on a terminal."""


class Line:
    """Tells how something stands, when it is time to. shown: whether it has said anything.

    In a log, all lines of a process that share it keep their distance from one another.
    """

    _spoken = float("-inf")

    def __init__(self, out: IO[str] | None = None, shares: bool = True) -> None:
        """out: standard error unless given. shares: False for a line that waits for no other."""
        self._out, self._shares = out or sys.stderr, shares
        self._renews = self._out.isatty()
        self._next = time.monotonic() + (RENEWED if self._renews else FIRST)
        self.shown = False

    def due(self) -> bool:
        """Whether it is time to show something: costs a look at the clock."""
        now = time.monotonic()
        return now >= self._next and (self._renews or not self._shares or now >= Line._spoken + BETWEEN)

    def show(self, text: str) -> None:
        """Renew the line on a terminal, add one to a log."""
        self._next = time.monotonic() + (RENEWED if self._renews else BETWEEN)
        self.shown = True
        if self._renews:
            fitting = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be renewed
            self._print(f"\r\x1b[K{fitting}", end="")
        else:
            Line._spoken = time.monotonic()
            self._print(text)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        self._print(text)

    def clear(self) -> None:
        """Take the renewed line off the terminal."""
        if self._renews:
            self._print("\r\x1b[K", end="")

    def _print(self, text: str, end: str = "\n") -> None:
        with contextlib.suppress(OSError):  # a log on a full disk, a closed pipe: no reason to stop the work
            print(text + end, end="", file=self._out, flush=True)  # in one piece: threads may speak at once


class Progress:
    """Counts what is done of a known total (0: unknown) and says so now and then."""

    def __init__(self, total: int, what: str, unit: str, out: IO[str] | None = None) -> None:
        self._total, self._what, self._unit = total, what, unit
        self._line, self._start, self._done = Line(out), time.monotonic(), 0

    def add(self, n: int = 1) -> None:
        """So many more are done."""
        self._done += n
        if self._line.due():
            self._line.show(self.text())

    def text(self) -> str:
        """What is done, how fast, and how long the rest takes at that speed."""
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        if self._total < max(self._done, 1):
            return f"{self._what}: {self._done:,} {self._unit}, {speed} {self._unit}/s"
        left = duration((self._total - self._done) / rate) if rate else "unknown time"
        return f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {speed} {self._unit}/s, {left} left"

    def end(self) -> None:
        """Clear the terminal; in a log, say how long it took if anything was said."""
        if self._line.shown:
            took = duration(time.monotonic() - self._start)
            self._line.say(f"{self._what}: {self._done:,} {self._unit} in {took}")


def progress(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Pass items through and report how many are done."""
    told = Progress(total, what, unit)
    try:
        for item in items:
            yield item
            told.add()
    finally:
        told.end()


@contextlib.contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is going on, and for how long, as long as the block lasts: for work that cannot be counted.

    Yields a function that names the part which begins now. A thread speaks, because the work is silent.
    """
    line, ended = Line(), threading.Event()
    parts: list[tuple[str, float]] = [("", time.monotonic())]

    def speak() -> None:
        while not ended.wait(RENEWED):
            if line.due():
                part, since = parts[-1]
                line.show(f"{what}{part and ': '}{part}, for {duration(time.monotonic() - since)} so far")

    thread = threading.Thread(target=speak, name=what, daemon=True)
    thread.start()

    def begin(part: str) -> None:
        parts.append((part, time.monotonic()))
        if line.due():  # some work keeps the thread from running
            line.show(f"{what}: {part}")

    try:
        yield begin
    finally:
        ended.set()
        thread.join()
        if line.shown:
            line.say(f"{what}: done in {duration(time.monotonic() - parts[0][1])}")


def naming(items: Sequence[T], what: str, name: Callable[[T], str]) -> Iterator[T]:
    """Pass items through that take long each; says which one is being worked on."""
    with doing(what) as now:
        for number, item in enumerate(items, start=1):
            now(f"{name(item)} ({number} of {len(items)})")
            yield item


def duration(seconds: float) -> str:
    """A time as one says it: 42 s, 13 min, 2.5 h."""
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
