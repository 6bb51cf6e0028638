"""Losses that need the whole batch: its gradients are the same on however many processes it lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from process_group import launch

from sclamp.train.distributed import Processes

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# One step of the contrastive model on this process's part of a batch; the first process writes what came out. With
# PLAIN the gathered rows carry no gradient back, which is the mistake to be caught.
STEP = """
import os, sys
sys.path.insert(0, {scripts!r})
import torch, torch.distributed as dist
from sclamp.config.contrastive import ContrastiveSettings
from sclamp.models.contrastive import Contrastive
from sclamp.models.noise import Noise
from sclamp.models.whole_batch import part_of_batch
from sclamp.train.distributed import Processes
from sclamp.types import Batch, DataSpec, Progress
rank, count, out = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), sys.argv[1]
dist.init_process_group("gloo")
processes = Processes(rank, count)
torch.manual_seed(0)
model = Contrastive(ContrastiveSettings(hidden_dims=(12, 9), latent_dim=5), DataSpec(tuple(map(str, range(14)))))
counts = torch.poisson(torch.rand(13, 14, generator=torch.Generator().manual_seed(1)) * 8)
import numpy as np
results = []
for plain in (False, True):
    part, start = processes.share(np.arange(13))
    rows = torch.from_numpy(part)
    batch = Batch(rows, torch.zeros(len(rows), 0), torch.zeros(len(rows)), counts[rows].sum(1), counts=counts[rows])
    batch.noise, batch.gather = Noise(3, 4, start, 13), processes.gathering(13)
    if plain and batch.gather is not None:
        inner = batch.gather
        class Plain:
            start, own, total = inner.start, inner.own, inner.total
            def sum(self, x):
                return inner.sum(x.detach()) - x.detach() + x
            def __call__(self, x):
                own, whole = x, inner(x.detach()).clone()
                first = len(x) // len(rows) * inner.start
                return torch.cat([whole[:first], own, whole[first + len(own):]])
        batch.gather = Plain()
    model.zero_grad()
    with part_of_batch(start, len(rows), 13, batch.gather):
        parts = model.loss(batch, Progress(0, 1))
    parts["loss"].backward()
    share = len(rows) / 13
    losses = processes.summed(torch.stack([parts["loss"], parts["found"]]).detach() * share)
    processes.average_gradients(list(model.parameters()), share, torch.zeros(()))
    results.append({{"losses": losses, **{{n: p.grad.clone() for n, p in model.named_parameters()}},
                    **{{n: b.clone() for n, b in model.named_buffers() if "running" in n}}}})
if rank == 0:
    torch.save(results, out)
dist.destroy_process_group()
"""


def test_gradients_of_two_and_three_processes_are_those_of_one(tmp_path: Path) -> None:
    script = tmp_path / "step.py"
    script.write_text(STEP.format(scripts=str(SCRIPTS)))
    found: dict[int, list[dict[str, torch.Tensor]]] = {}
    for count in (1, 2, 3):  # 13 cells: shares of 6 and 7, and of 4, 4 and 5
        launch([str(script), str(tmp_path / f"{count}.pt")], count, 180)
        found[count] = torch.load(tmp_path / f"{count}.pt", weights_only=True)
    for count in (2, 3):
        for name, value in found[1][0].items():
            assert found[count][0][name].numpy() == pytest.approx(value.numpy(), rel=1e-4, abs=2e-6), (count, name)
        wrong = [
            name for name, value in found[1][0].items()
            if "weight" in name and not torch.allclose(found[count][1][name], value, rtol=1e-2, atol=1e-4)
        ]  # fmt: skip
        assert len(wrong) >= 3  # without gradients through the others' losses


def test_one_process_or_a_small_batch_gathers_nothing() -> None:
    assert Processes().gathering(100) is None
    assert Processes(1, 3).gathering(5) is None  # process 0 holds all of it
    gather = Processes(1, 3).gathering(7)
    assert gather is not None and (gather.start, gather.own, gather.total) == (2, 2, 7)


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(tiny_counts: Callable[..., Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "mode": "contrastive", "latent_dim": 4, "hidden_dims": [16], "batch_size": 27, "max_epochs": 3, "device": "cpu",
    }  # fmt: skip
    histories = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        command = [
            str(SCRIPTS / "train_model.py"), "--counts", str(tiny_counts()), "--settings", json.dumps(settings),
            "--seed", "1", "--model", str(folder / "model.pt"), "--history", str(folder / "history.parquet"),
        ]  # fmt: skip
        launch(command, count, 180)
        history = pd.read_parquet(folder / "history.parquet")
        histories.append(history[["train_loss", "val_loss", "train_found", "val_found"]].to_numpy())
    assert histories[1] == pytest.approx(histories[0], rel=1e-3)
