"""Two processes that are asked for the same training: one trains, the other waits and takes its result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sclamp.train.alone import alone

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/train_model.py"
SETTINGS = {"mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "batch_size": 16, "device": "cpu"}


@pytest.fixture
def start(tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    counts = tiny_counts()

    def begin(**changed: object) -> subprocess.Popen[str]:
        settings = json.dumps(SETTINGS | {"max_epochs": 300, "patience": 300} | changed)
        command = [sys.executable, str(SCRIPT), "--counts", str(counts), "--settings", settings]
        command += ["--model", str(tmp_path / "run/model.pt"), "--history", str(tmp_path / "run/history.parquet")]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return begin


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_the_second_waits_and_takes_the_result_of_the_first(start, tmp_path):
    first = start()
    wait_for(tmp_path / "run/.model.pt.lock")
    second = start()
    said = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "trained 300 epochs" in said[0]
    assert f"waiting: process {first.pid} on" in said[1]
    assert "as asked for here" in said[1]
    assert "trained" not in said[1]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["history.parquet", "model.pt"]


def test_the_second_trains_by_itself_where_other_settings_were_asked_for(start, tmp_path):
    first = start()
    wait_for(tmp_path / "run/.model.pt.lock")
    second = start(max_epochs=2)
    said = [process.communicate(timeout=120)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "waiting" in said[1]
    assert "trained 2 epochs" in said[1]


def test_the_lock_of_a_killed_process_is_nobodys(start, tmp_path):
    first = start()
    wait_for(tmp_path / "run/.model.pt.lock")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(max_epochs=2)
    assert "waiting" not in second.communicate(timeout=120)[1]
    assert second.returncode == 0


def test_a_folder_is_made_and_left_as_it_was(tmp_path):
    with alone(tmp_path / "new/model.pt") as waited:
        assert not waited
        assert [path.name for path in (tmp_path / "new").iterdir()] == [".model.pt.lock"]
    assert list((tmp_path / "new").iterdir()) == []
