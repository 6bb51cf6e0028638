"""Two processes train as one would."""

from __future__ import annotations

import json
import os
import socket
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

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_model.py"
SETTINGS = {
    "mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "batch_size": 27, "max_epochs": 6,
    "epochs_before_beta_warmup": 0, "beta_warmup_rate": 0.5, "device": "cpu",
    "dropout": 0.0, "input_dropout": 0.0,
}  # fmt: skip


# train_model.py, with SIGTERM to the first process alone before its eleventh step.
INTERRUPTED = """
import os, runpy, signal, sys
sys.path.insert(0, {scripts!r})
from sclamp.train import adamw
count, step = 0, adamw.AdamW.step
def hooked(self, skip):
    global count
    count += 1
    if count == 11 and os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGTERM)
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--master-addr", "127.0.0.1",
        "--master-port", str(port),
    ]  # fmt: skip
    command = [*launch, *arguments] if count > 1 else [sys.executable, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)


def test_two_processes_give_the_loss_curve_of_one(tiny_counts: Callable[..., Path], tmp_path: Path):
    counts = tiny_counts()  # 84 training cells: batches of 27, 27, 27 and 3, the last for one process alone
    for name, count in (("one", 1), ("two", 2)):
        done = _train(counts, tmp_path / name, count)
        assert done.returncode == 0, done.stderr
    one, two = (pq.read_table(tmp_path / name / "history.parquet").to_pandas() for name in ("one", "two"))
    assert list(one.columns) == list(two.columns)
    numbers = one.columns.drop("is_best")
    assert two[numbers].to_numpy(float) == pytest.approx(one[numbers].to_numpy(float), rel=2e-4)
    a, b = (torch.load(tmp_path / name / "model.pt", weights_only=True)["state"] for name in ("one", "two"))
    assert all(b[name].numpy() == pytest.approx(a[name].numpy(), abs=2e-3) for name in a)
    assert done.stderr.count("model: ") == done.stderr.count("trained 6 epochs") == 1  # one process speaks


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_together(tiny_counts: Callable[..., Path], tmp_path: Path):
    counts, driver = tiny_counts(), tmp_path / "driver.py"
    driver.write_text(INTERRUPTED.format(scripts=str(SCRIPT.parent), script=str(SCRIPT)))
    assert _train(counts, tmp_path / "whole", 2, dropout=0.1).returncode == 0
    stopped = _train(counts, tmp_path / "cut", 2, driver, dropout=0.1)
    assert stopped.returncode != 0
    assert "stopped by SIGTERM; saved at epoch 2, step 3" in stopped.stderr
    assert _train(counts, tmp_path / "cut", 2, dropout=0.1).returncode == 0
    whole, cut = (tmp_path / name / "model.pt" for name in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()


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
