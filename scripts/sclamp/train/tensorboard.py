"""TensorBoard's view of a training: every number of its history, epoch by epoch, and how fast it goes.

Switched on by the environment (SCLAMP_TENSORBOARD=1), not by a setting: a look at a training must not be a reason to
repeat it, so nothing here enters its settings, its provenance or its bytes. The files are a view, no result: they hold
times, and may be deleted. After a resume they are written anew from the history, so that no epoch is there twice.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError

SWITCH = "SCLAMP_TENSORBOARD"
SPEED = "speed/cells_per_second"
SECONDS_BETWEEN_FLUSHES = 5.0


def wanted() -> bool:
    """Whether the environment asks for event files."""
    value = os.environ.get(SWITCH, "0").lower()
    if value not in {"", "0", "1", "false", "true"}:
        raise UserError(f"{SWITCH}: '{value}' is not allowed; 1 switches event files for TensorBoard on, 0 off.")
    return value in {"1", "true"}


class EventLog:
    """Writes event files into one folder, which belongs to one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def begin(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Start anew with the epochs that have ended already; their speeds are taken over from the files before."""
        speeds = {step: value for tag, step, value in read_events(self.folder) if tag == SPEED}
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), flush_secs=SECONDS_BETWEEN_FLUSHES)
        except OSError as error:
            self._give_up(error)
        for row in history:
            self.epoch(row, speeds.get(row["epoch"]))

    def epoch(self, row: Mapping[str, Any], cells_per_second: float | None) -> None:
        """Add an epoch: its row of the history; numbers that it lacks or that are not finite are left out."""
        values = {_tag(name): value for name, value in row.items() if name != "epoch"} | {SPEED: cells_per_second}
        try:
            for tag, value in values.items():
                if self._writer and value is not None and math.isfinite(value):
                    self._writer.add_scalar(tag, value, row["epoch"])
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is still waiting."""
        try:
            if self._writer:
                self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        print(f"tensorboard: {self.folder} cannot be written ({error}); training goes on without", file=sys.stderr)


def _tag(column: str) -> str:
    """train_loss and val_loss become loss/train and loss/val, which TensorBoard shows side by side."""
    split, _, name = column.partition("_")
    return f"{name}/{split}" if split in {"train", "val"} else f"schedules/{column}"


def read_events(folder: Path) -> Iterator[tuple[str, int, float]]:
    """(tag, epoch, value) of every number in the event files of a folder; the broken end of a file is left out."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    if not files:
        return
    from tensorboardX.proto.event_pb2 import Event

    for path in files:
        content, at = path.read_bytes(), 0
        while at + 12 <= len(content):  # length, its checksum, content, its checksum
            (length,) = struct.unpack_from("<Q", content, at)
            record = content[at + 12 : at + 12 + length]
            if len(record) < length:
                break
            event = Event.FromString(record)
            for value in event.summary.value:
                yield value.tag, event.step, value.simple_value
            at += length + 16
