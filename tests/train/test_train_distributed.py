"""Two processes train as one would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sclamp.core.errors import UserError
from sclamp.train.distributed import Processes, check_sizes

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCRIPT, LAUNCHER = SCRIPTS / "train_model.py", SCRIPTS / "launch_processes.py"
LONGEST = 600
"""Seconds: a third of what a process would wait for another that has failed, were it not ended."""
SETTINGS = {
    "mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "batch_size": 27, "max_epochs": 6,
    "epochs_before_beta_warmup": 0, "beta_warmup_rate": 0.5, "device": "cpu",
    "dropout": 0.0, "input_dropout": 0.0,
}  # fmt: skip


# train_model.py, of which one process does something before its eleventh step.
DISTURBED = """
import os, runpy, signal, sys
sys.path.insert(0, {scripts!r})
from sclamp.core.errors import UserError
from sclamp.train import adamw
count, step = 0, adamw.AdamW.step
def hooked(self, skip):
    global count
    count += 1
    if count == 11 and os.environ["RANK"] == "{rank}":
        {what}
    return step(self, skip)
adamw.AdamW.step = hooked
runpy.run_path({script!r}, run_name="__main__")
"""


def _train(
    counts: Path, folder: Path, count: int, script: Path = SCRIPT, **changed: Any
) -> subprocess.CompletedProcess[str]:
    arguments = [
        str(script), "--counts", str(counts), "--settings", json.dumps({**SETTINGS, **changed}), "--seed", "1",
        "--model", str(folder / "model.pt"), "--history", str(folder / "history.parquet"),
    ]  # fmt: skip
    launch = [str(LAUNCHER), "--processes", str(count)] if count > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, env=environment)


def _disturbed(folder: Path, rank: int, what: str) -> Path:
    driver = folder / "driver.py"
    driver.write_text(DISTURBED.format(scripts=str(SCRIPTS), script=str(SCRIPT), rank=rank, what=what))
    return driver


def test_two_processes_give_the_loss_curve_of_one(tiny_counts: Callable[..., Path], tmp_path: Path):
    counts = tiny_counts()  # 84 training cells: batches of 27, 27, 27 and 3, the last for one process alone
    for name, count in (("one", 1), ("two", 2)):
        done = _train(counts, tmp_path / name, count)
        assert done.returncode == 0, done.stderr
    one, two = (pq.read_table(tmp_path / name / "history.parquet").to_pandas() for name in ("one", "two"))
    assert list(one.columns) == list(two.columns)
    numbers = one.columns.drop("is_best")
    assert two[numbers].to_numpy(float) == pytest.approx(one[numbers].to_numpy(float), rel=1e-6)
    a, b = (torch.load(tmp_path / name / "model.pt", weights_only=True)["state"] for name in ("one", "two"))
    assert all(b[name].numpy() == pytest.approx(a[name].numpy(), abs=1e-5) for name in a)
    assert done.stderr.count("model: ") == done.stderr.count("trained 6 epochs") == 1  # one process speaks


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_together(tiny_counts: Callable[..., Path], tmp_path: Path, trials: Any):
    counts, driver = tiny_counts(), _disturbed(tmp_path, 0, "os.kill(os.getpid(), signal.SIGTERM)")
    assert _train(counts, tmp_path / "whole", 2, dropout=0.1).returncode == 0
    stopped = _train(counts, tmp_path / "cut", 2, driver, dropout=0.1)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; saved at epoch 2, step 3" in stopped.stderr
    assert _train(counts, tmp_path / "cut", 2, dropout=0.1).returncode == 0
    whole, cut = (tmp_path / name / "model.pt" for name in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()
    trials.survived("killed", "train_model on two processes, SIGTERM to one at its eleventh step")


def test_an_error_of_one_process_ends_the_other_and_is_told_once(tiny_counts: Callable[..., Path], tmp_path: Path):
    driver = _disturbed(tmp_path, 1, 'raise UserError("disk: of this node alone.")')
    done = _train(tiny_counts(), tmp_path / "run", 2, driver)
    assert done.returncode == 1
    assert done.stderr.count("disk: of this node alone.") == 1
    assert "process 1 of 2 failed first, with exit status 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "model.pt").exists()


def test_an_error_of_all_processes_is_told_once(tmp_path: Path):
    done = _train(tmp_path / "absent.h5ad", tmp_path / "run", 2)
    assert done.returncode == 1
    assert done.stderr.count("absent.h5ad: no such file.") == 1
    assert "process 0 of 2 failed first, with exit status 1" in done.stderr


@pytest.mark.slow
def test_a_killed_process_ends_the_other(tiny_counts: Callable[..., Path], tmp_path: Path, trials: Any):
    driver = _disturbed(tmp_path, 1, "os.kill(os.getpid(), signal.SIGKILL)")
    done = _train(tiny_counts(), tmp_path / "run", 2, driver)
    assert done.returncode == 128 + signal.SIGKILL
    assert "process 1 of 2 was killed by SIGKILL; was memory short?" in done.stderr
    trials.survived("killed", "train_model on two processes, SIGKILL of one at its eleventh step")


@pytest.mark.slow
def test_processes_do_not_outlive_their_launcher(tiny_counts: Callable[..., Path], tmp_path: Path, trials: Any):
    driver = _disturbed(tmp_path, 1, "os.kill(os.getppid(), signal.SIGKILL)")
    done = _train(tiny_counts(), tmp_path / "cut", 2, driver)  # returns when the last process has closed its stderr
    assert done.returncode == -signal.SIGKILL
    assert "the same command goes on from there" in done.stderr
    assert (tmp_path / "cut" / "resume.pt").is_file()
    trials.survived("killed", "train_model on two processes, SIGKILL of their launcher")


def test_parts_of_a_batch_cover_it():
    rows = np.arange(11)
    parts = [Processes(rank, 3).share(rows) for rank in range(3)]
    assert np.array_equal(np.concatenate([part for part, _ in parts]), rows)
    assert all(part[0] == start for part, start in parts)
    assert min(len(part) for part, _ in parts) >= 2
    small = [Processes(rank, 3).share(rows[:5])[0].tolist() for rank in range(3)]
    assert small == [[0, 1, 2, 3, 4], [], []]


def test_sizes_that_do_not_suffice_are_named_together():
    with pytest.raises(UserError) as caught:
        check_sizes(n_train=3, batch_size=4, count=4)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["batch_size", "split"]
