"""Memory that runs out in trainings as the workflow starts them: under a limit, and in one of two processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = {"latent_dim": 3, "hidden_dims": [12, 8], "dropout": 0.2, "input_dropout": 0.2}

# train_model.py, whose second process alone runs out of memory with more than 7 cells at once, in its third step.
SECOND_IS_SHORT = """
import os, runpy, sys
sys.path.insert(0, {scripts!r})
import torch
from sclamp.models.scilama import BetaVAE
loss = BetaVAE.loss
def short(self, batch, progress):
    if os.environ["RANK"] == "1" and progress.step >= 2 and len(batch) > 7:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return loss(self, batch, progress)
if {short}:
    BetaVAE.loss = short
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_one_of_two_processes_does_its_share_in_parts(tiny_counts: Callable[..., Path], tmp_path: Path):
    counts, curves = tiny_counts(), []
    settings = {**SMALL, "mode": "beta_vae", "batch_size": 27, "max_epochs": 3, "device": "cpu"}
    for short in (False, True):
        folder = tmp_path / str(short)
        folder.mkdir()
        driver = folder / "driver.py"
        program = SECOND_IS_SHORT.format(scripts=str(SCRIPTS), script=str(SCRIPTS / "train_model.py"), short=short)
        driver.write_text(program)
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
            "--nproc-per-node", "2", driver, "--counts", counts, "--settings", json.dumps(settings), "--seed", "1",
            "--model", folder / "model.pt", "--history", folder / "history.parquet",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, timeout=900, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        curves.append(pd.read_parquet(folder / "history.parquet").to_numpy(float))
    assert curves[1] == pytest.approx(curves[0], rel=2e-4, abs=1e-6)
    assert not np.array_equal(curves[0], curves[1])  # it was done in parts


# train_model.py, with the memory that it may still take limited from the first step on: the fault itself is real.
LIMITED = """
import resource, runpy, sys
from pathlib import Path
sys.path.insert(0, {scripts!r})
from sclamp.train import loop
run = loop.Training.run
def limited(self):
    lines = Path("/proc/self/status").read_text().splitlines()
    size = 1024 * int(next(line for line in lines if line.startswith("VmSize")).split()[1])
    if {more}:
        resource.setrlimit(resource.RLIMIT_AS, (size + {more}, resource.RLIM_INFINITY))
    return run(self)
loop.Training.run = limited
runpy.run_path({script!r}, run_name="__main__")
"""
WIDE = {
    "mode": "beta_vae", "hidden_dims": [3000], "latent_dim": 4, "batch_size": 800, "max_epochs": 2, "device": "cpu",
    "epochs_before_beta_warmup": 0,
}  # fmt: skip


def run_limited(counts: Path, folder: Path, more: int, **changed: Any) -> tuple[int, str]:
    folder.mkdir()
    driver = folder / "driver.py"
    driver.write_text(LIMITED.format(scripts=str(SCRIPTS), script=str(SCRIPTS / "train_model.py"), more=more))
    arguments = ["--counts", counts, "--settings", json.dumps({**WIDE, **changed}), "--seed", "1"]
    outputs = ["--model", folder / "model.pt", "--history", folder / "history.parquet"]
    command = [sys.executable, str(driver), *map(str, [*arguments, *outputs])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    return done.returncode, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_a_training_that_runs_out_of_memory_stops_with_advice_or_goes_on_in_parts(
    tiny_counts: Callable[..., Path], tmp_path: Path
):
    counts = tiny_counts(n_cells=1200, splits=(0.75, 0.05, 0.2))
    status, said = run_limited(counts, tmp_path / "whole", 0)
    assert status == 0, said
    found = re.search(r"([\d.]+) MB for a step on 800 cells", said)
    assert found, said
    more = int(float(found[1]) * 1e6 * 0.75)

    status, stopped = run_limited(counts, tmp_path / "stop", more, out_of_memory="stop")
    assert status == 1, stopped
    assert re.search(
        r"memory: there was too little \(.*DefaultCPUAllocator: can't allocate memory: you tried to allocate \d+ bytes"
        r".*\)\. A step had 800 cells at once; `out_of_memory: accumulate` would do it in parts\. What helps: a "
        r"smaller batch_size, precision: bf16, fewer genes",
        stopped,
    )
    assert "Traceback" not in stopped

    status, said = run_limited(counts, tmp_path / "parts", more)
    assert status == 0, said
    assert "memory: it ran out in epoch 0, step 0 (from 0); from here on batches are done in" in said
    whole, parts = (pd.read_parquet(tmp_path / name / "history.parquet") for name in ("whole", "parts"))
    assert set(parts.pop("parts")) <= {2, 4, 8}
    assert parts.to_numpy(float) == pytest.approx(whole.to_numpy(float), rel=2e-4, abs=1e-6)
