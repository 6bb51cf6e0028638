"""resume.pt: what a training needs to go on after it was killed, as if nothing had happened.

Random numbers are functions of (seed, step), so there is no generator to save. The file lies in the run's folder but is
no output of a rule, because Snakemake deletes the outputs of a failed job.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from sclamp.core.errors import UserError
from sclamp.train.checkpoint import Unreadable, load_plain, save_plain

SECONDS_BETWEEN_EPOCH_SAVES = 30.0
SECONDS_BETWEEN_STEP_SAVES = 600.0
"""Long epochs are also saved in between."""
SECONDS = "SCLAMP_SECONDS_BETWEEN_SAVES"
"""Environment variable: save at least this often, where jobs are killed without a word."""
WATCHED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
"""Schedulers send one of these before they kill: SLURM SIGTERM, LSF SIGUSR2."""
SECONDS_OF_ONE_REQUEST = 2.0
"""A scheduler tells every process of a job, and torchrun passes it on: the same request comes twice."""


class Resume:
    """The resume.pt of one run.

    identity: name -> value of everything that a resumed training must share with the interrupted one.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._identity = {name: json.dumps(value, sort_keys=True) for name, value in identity.items()}
        self._saved = time.monotonic()
        self._at_most = _seconds_between_saves()

    def load(self) -> dict[str, Any] | None:
        """What was saved, or None: nothing there, unreadable, or of other settings, inputs, code or versions."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)
        if not self.path.is_file():
            return None
        try:
            content = load_plain(self.path)
            before, state = content["identity"], content["state"]
        except (Unreadable, KeyError, TypeError) as error:
            _say(f"{self.path} cannot be read ({error}); training starts anew")
            return None
        changed = [name for name in {**before, **self._identity} if before.get(name) != self._identity.get(name)]
        if changed:
            what = "; ".join(_change(name, before.get(name), self._identity.get(name)) for name in changed)
            _say(f"{self.path} is not resumed, training starts anew: {what}")
            return None
        return dict(state)

    def due(self, seconds: float) -> bool:
        """True when the last save is at least that long ago, or as long as the environment allows."""
        return time.monotonic() - self._saved >= min(seconds, self._at_most)

    def save(self, state: Mapping[str, Any]) -> bool:
        """Write resume.pt aside and rename it; a full disk is told, and no reason to lose the training."""
        self._saved = time.monotonic()
        try:
            save_plain(self.path, {"identity": self._identity, "state": dict(state)})
        except UserError as error:
            _say(f"training goes on, but could not be saved: {error}")
            return False
        return True

    def remove(self) -> None:
        """Remove the file after a training has ended well."""
        self.path.unlink(missing_ok=True)


def _seconds_between_saves(environment: Mapping[str, str] = os.environ) -> float:
    text = environment.get(SECONDS, "inf")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise UserError(f"{SECONDS}: a number of seconds above 0 is expected, found '{text}'.")
    return seconds


def _change(name: str, before: str | None, now: str | None) -> str:
    """Word what changed; of nested values only the keys that differ."""
    old, new = (json.loads(text) if text else None for text in (before, now))
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        return f"{name}: " + ", ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys[:5])
    return f"{name} was {old}, is {new}"


def _say(text: str) -> None:
    print(f"resume: {text}", file=sys.stderr)


class Interruption:
    """Remembers that the process was asked to stop. signal_number: by which signal, 0 as long as it was not."""

    def __init__(self) -> None:
        self.signal_number = 0

    @contextlib.contextmanager
    def watched(self) -> Iterator[Interruption]:
        """Take SIGTERM, SIGUSR1, SIGUSR2 and SIGINT as requests to save and stop; a later one acts at once."""
        before = {number: signal.getsignal(number) for number in WATCHED}
        asked = 0.0

        def remember(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            if not self.signal_number:
                self.signal_number, asked = number, time.monotonic()
            elif time.monotonic() - asked > SECONDS_OF_ONE_REQUEST:
                for each, handler in before.items():
                    signal.signal(each, handler)
                signal.raise_signal(number)

        for number in before:
            signal.signal(number, remember)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def leave(self, what: str) -> None:
        """End the process with the exit status that a shell gives for the signal."""
        name = signal.Signals(self.signal_number).name
        _say(f"stopped by {name}; {what}")
        raise SystemExit(128 + self.signal_number)
