"""Event files for TensorBoard: what is in them, what a resume makes of them, and that they change nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sclamp.core.errors import UserError
from sclamp.train.tensorboard import SWITCH, EventLog, read_events, wanted

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "batch_size": 16, "max_epochs": 7, "device": "cpu",
    "epochs_before_beta_warmup": 1, "beta_warmup_rate": 0.5, "validate_every": 2, "patience": 50,
}  # fmt: skip

# Runs train_model.py; saves only after the third epoch, writes events at once, and may be killed before a step.
DRIVER = """
import os, runpy, signal, sys
sys.path.insert(0, {scripts!r})
from sclamp.train import adamw, resume, tensorboard
tensorboard.SECONDS_BETWEEN_FLUSHES = 0.0
epochs = steps = 0
def due(self, seconds):
    global epochs
    epochs += seconds < 100
    return seconds < 100 and epochs == 3
resume.Resume.due = due
step = adamw.AdamW.step
def hooked(self, skip):
    global steps
    steps += 1
    if steps == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, skip)
adamw.AdamW.step = hooked
sys.argv = ["train_model.py", *{arguments!r}]
runpy.run_path({scripts!r} + "/train_model.py", run_name="__main__")
"""


@pytest.fixture
def train(tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    counts = tiny_counts()

    def call(folder: str, switch: str = "1", at: int = -1, processes: int = 1) -> subprocess.CompletedProcess[str]:
        arguments = [
            "--counts", str(counts), "--seed", "3", "--code", "same", "--settings", json.dumps(SETTINGS),
            "--model", str(tmp_path / folder / "model.pt"), "--history", str(tmp_path / folder / "history.parquet"),
        ]  # fmt: skip
        driver = tmp_path / "driver.py"
        driver.write_text(DRIVER.format(scripts=str(ROOT / "scripts"), at=at, arguments=arguments), encoding="utf-8")
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launch if processes > 1 else []), str(driver)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", SWITCH: switch}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    return call


def _columns(folder: Path) -> dict[str, dict[int, float]]:
    """Column of the history -> epoch -> value, of the values that are there."""
    table = pq.read_table(folder / "history.parquet").to_pydict()
    epochs = table.pop("epoch")
    table.pop("is_best")
    return {
        name: {e: v for e, v in zip(epochs, values, strict=True) if v is not None} for name, values in table.items()
    }


def _events(folder: Path) -> dict[str, dict[int, float]]:
    """The same from the event files, where nothing may be twice."""
    found = list(read_events(folder / "tensorboard"))
    assert set(Counter((tag, step) for tag, step, _ in found).values()) == {1}
    tags: dict[str, dict[int, float]] = {}
    for tag, step, value in found:
        tags.setdefault(tag, {})[step] = value
    return tags


def _check(folder: Path) -> None:
    """Every number of the history is in the events, and nothing else but the speed."""
    history, events = _columns(folder), _events(folder)
    speed = events.pop("speed/cells_per_second")
    assert set(speed) == set(range(7))
    assert min(speed.values()) > 0
    tags = {name: _tag(name) for name in history}
    assert set(events) == set(tags.values())
    assert {"loss/train", "loss/val", "schedules/learning_rate", "schedules/beta"} <= set(events)
    assert set(events["loss/val"]) == {1, 3, 5, 6}
    for name, values in history.items():
        assert events[tags[name]] == pytest.approx(values, rel=1e-6)


def _tag(column: str) -> str:
    split, _, name = column.partition("_")
    return f"{name}/{split}" if split in {"train", "val"} else f"schedules/{column}"


def test_events_hold_the_history_also_after_a_kill_and_change_no_byte(train: Callable[..., Any], tmp_path: Path):
    plain = train("off", switch="0")
    assert plain.returncode == 0, plain.stderr
    assert not (tmp_path / "off/tensorboard").exists()
    whole = train("whole")
    assert whole.returncode == 0, whole.stderr
    _check(tmp_path / "whole")

    killed = train("cut", at=30)  # 6 steps an epoch: in the sixth epoch, while resume.pt is of the end of the third
    assert killed.returncode == -signal.SIGKILL
    assert max(step for _, step, _ in read_events(tmp_path / "cut/tensorboard")) >= 3
    before = _events(tmp_path / "cut")["speed/cells_per_second"]
    resumed = train("cut")
    assert "going on at epoch 3, step 0" in resumed.stderr
    _check(tmp_path / "cut")
    after = _events(tmp_path / "cut")["speed/cells_per_second"]
    assert {epoch: after[epoch] for epoch in range(3)} == {epoch: before[epoch] for epoch in range(3)}
    assert len(list((tmp_path / "cut/tensorboard").iterdir())) == 1

    for name in ("model.pt", "history.parquet"):
        expected = (tmp_path / "off" / name).read_bytes()
        assert (tmp_path / "whole" / name).read_bytes() == expected
        assert (tmp_path / "cut" / name).read_bytes() == expected


def test_two_processes_have_one_writer(train: Callable[..., Any], tmp_path: Path):
    done = train("two", processes=2)
    assert done.returncode == 0, done.stderr
    _check(tmp_path / "two")
    assert len(list((tmp_path / "two/tensorboard").iterdir())) == 1


@pytest.mark.parametrize(("value", "on"), [("1", True), ("True", True), ("0", False), ("", False), (None, False)])
def test_the_switch(value: str | None, on: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    assert wanted() == on


def test_a_switch_that_is_neither_on_nor_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SWITCH, "yes please")
    with pytest.raises(UserError) as error:
        wanted()
    assert (
        str(error.value) == f"{SWITCH}: 'yes please' is not allowed; 1 switches event files for TensorBoard on, 0 off."
    )


def test_numbers_that_are_not_finite_and_a_broken_end_are_left_out(tmp_path: Path):
    log = EventLog(tmp_path / "tb")
    log.begin([{"epoch": 0, "train_loss": 2.0, "val_loss": None}])
    log.epoch({"epoch": 1, "train_loss": math.nan, "val_loss": math.inf, "beta": 0.5}, None)
    log.close()
    assert list(read_events(tmp_path / "tb")) == [("loss/train", 0, 2.0), ("schedules/beta", 1, 0.5)]
    [path] = (tmp_path / "tb").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert list(read_events(tmp_path / "tb")) == [("loss/train", 0, 2.0)]


def test_a_folder_that_cannot_be_written_stops_no_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("in the way")
    log = EventLog(tmp_path / "file" / "tb")
    log.begin([])
    log.epoch({"epoch": 0, "train_loss": 1.0}, 5.0)
    log.close()
    said = capfd.readouterr().err
    assert f"tensorboard: {tmp_path}/file/tb cannot be written" in said
    assert "training goes on without" in said
