"""Killed and resumed equals uninterrupted, byte for byte; and what is never resumed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sclamp.train.resume import Interruption, Resume

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "batch_size": 16, "max_epochs": 9, "dropout": 0.2,
    "epochs_before_beta_warmup": 1, "beta_warmup_rate": 0.5, "device": "cpu",
}  # fmt: skip

# Runs train_model.py with a hook before each optimiser step, and with saves after every epoch and every third step.
DRIVER = """
import os, runpy, signal, sys, time
sys.path.insert(0, {scripts!r})
from sclamp.train import adamw, loop
loop.SECONDS_BETWEEN_EPOCH_SAVES = {between}
count = 0
step = adamw.AdamW.step
def hooked(self, skip):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), {signal})
    return step(self, skip)
adamw.AdamW.step = hooked
sys.argv = ["train_model.py", *{arguments!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.fixture
def train(tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    counts = tiny_counts()

    def run(
        folder: str, at: int = -1, number: int = 0, between: float = 0.0, seed: int = 3, **changed: Any
    ) -> subprocess.CompletedProcess[str]:
        arguments = [
            "--counts", str(counts), "--seed", str(seed), "--settings", json.dumps({**SETTINGS, **changed}),
            "--model", str(tmp_path / folder / "model.pt"), "--history", str(tmp_path / folder / "history.parquet"),
        ]  # fmt: skip
        scripts = ROOT / "scripts"
        code = DRIVER.format(
            scripts=str(scripts), script=str(scripts / "train_model.py"), at=at, signal=int(number), between=between,
            arguments=arguments,
        )  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
        )

    return run


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_sigkill_sigterm_and_sigusr1_change_no_byte(train: Callable[..., Any], tmp_path: Path):
    whole = train("whole")
    assert whole.returncode == 0, whole.stderr
    expected = _files(tmp_path / "whole")
    assert sorted(expected) == ["history.parquet", "model.pt"]  # resume.pt is gone

    killed = train("cut", at=14, number=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "cut" / "resume.pt").is_file()
    assert not (tmp_path / "cut" / "model.pt").exists()
    stopped = train("cut", at=8, number=signal.SIGTERM)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "going on at epoch 2, step 0" in stopped.stderr
    assert "stopped by SIGTERM; saved at epoch 3, step 2" in stopped.stderr
    again = train("cut", at=7, number=signal.SIGUSR1, between=1e9)
    assert again.returncode == 128 + signal.SIGUSR1
    assert "going on at epoch 3, step 2" in again.stderr
    finished = train("cut")
    assert finished.returncode == 0, finished.stderr
    assert _files(tmp_path / "cut") == expected


def test_a_change_starts_anew_and_says_what_changed(train: Callable[..., Any], tmp_path: Path):
    assert train("changed", at=14, number=signal.SIGKILL).returncode == -signal.SIGKILL
    changed = train("changed", learning_rate=0.003)
    assert changed.returncode == 0
    assert "training starts anew: settings: learning_rate was 0.002, is 0.003" in changed.stderr
    assert "going on" not in changed.stderr
    assert not (tmp_path / "changed" / "resume.pt").exists()


@pytest.mark.parametrize(
    ("name", "now", "words"),
    [
        ("code", "bbb", "code was aaa, is bbb"),
        ("seed", 2, "seed was 1, is 2"),
        ("inputs", {"a.h5ad": "2"}, "inputs: a.h5ad was 1, is 2"),
        ("versions", {"torch": "3.0"}, "versions: torch was 2.0, is 3.0"),
        ("processes", None, "processes was 1, is None"),
    ],
)
def test_what_a_resume_must_share(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, now: Any, words: str):
    before = {"code": "aaa", "seed": 1, "inputs": {"a.h5ad": "1"}, "versions": {"torch": "2.0"}, "processes": 1}
    Resume(tmp_path / "resume.pt", before).save({"x": torch.ones(2)})
    same = Resume(tmp_path / "resume.pt", before).load()
    assert same is not None
    assert torch.equal(same["x"], torch.ones(2))
    assert Resume(tmp_path / "resume.pt", {**before, name: now}).load() is None
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not a file of torch", "truncated"], ids=["empty", "foreign", "truncated"])
def test_an_unreadable_file_starts_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any):
    path = tmp_path / "resume.pt"
    resume = Resume(path, {"seed": 1})
    resume.save({"x": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[:1500] if content == "truncated" else content)
    assert resume.load() is None
    assert "cannot be read" in capsys.readouterr().err


def test_a_full_disk_is_told_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    resume = Resume(tmp_path / "resume.pt", {"seed": 1})
    assert resume.save({"x": torch.ones(2)})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert not resume.save({"x": torch.zeros(2)})
    assert "training goes on, but could not be saved" in capsys.readouterr().err
    monkeypatch.undo()
    state = resume.load()
    assert state is not None
    assert torch.equal(state["x"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


def test_leftovers_of_a_killed_write_are_removed(tmp_path: Path):
    leftover = tmp_path / ".resume.pt.12345.tmp"
    leftover.write_bytes(b"half")
    assert Resume(tmp_path / "resume.pt", {}).load() is None
    assert not leftover.exists()


def test_a_request_may_come_twice_and_a_later_signal_acts_at_once():
    code = (
        "import os, signal, time\n"
        "from sclamp.train.resume import SECONDS_OF_ONE_REQUEST, Interruption\n"
        "with Interruption().watched() as i:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
        "    print(i.signal_number, flush=True)\n"
        "    time.sleep(SECONDS_OF_ONE_REQUEST)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(int(signal.SIGTERM))
    assert done.returncode == -signal.SIGTERM
    assert time.monotonic() - start < 50


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGUSR1)
    with Interruption().watched():
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
