"""Trains models as one of the processes that torchrun would start; what each process ends with is left in files.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python together.py TRAININGS.json FOLDER

FOLDER/NAME/ gets model.pt and history.parquet by process 0, and of each process its own model (rank0.pt, ...) and its
notes (notes0.json, ...): the cells that it saw, epoch by epoch, and parameters that another process had otherwise.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from sclamp.config.registry import settings_class
from sclamp.data.batches import Batches
from sclamp.train import run
from sclamp.train.checkpoint import save_model
from sclamp.train.distributed import Processes
from sclamp.train.loop import Training
from sclamp.types import Batch


class Watched(Processes):
    """Notes which parameters are not those of process 0 where they are made equal: none should be."""

    differing: set[str]

    def same_state(self, model: nn.Module) -> None:
        for name, value in model.named_parameters():
            first = value.detach().clone()
            if self.count > 1:
                dist.broadcast(first, 0)
            if not torch.equal(first, value):
                self.differing.add(name)
        super().same_state(model)


class Notes:
    """The one training that is going on, and the rows that its batches held: split -> epoch -> rows."""

    def __init__(self) -> None:
        self.training: Training | None = None
        self.seen: dict[str, dict[int, list[int]]] = {"train": defaultdict(list), "val": defaultdict(list)}

    def of(self, batches: Batches, strict: bool) -> None:
        """Note what these batches hold from now on; strict: let them be in float64."""
        plain = batches.of

        def noted(plan: Any) -> Iterator[Batch]:
            for batch in plain(plan):
                if self.training is not None:
                    split = "train" if self.training.model.training else "val"
                    self.seen[split][self.training.standing.epoch] += batch.rows.tolist()
                yield in_double(batch) if strict else batch

        batches.of = noted  # type: ignore[method-assign,assignment]


def in_double(batch: Batch) -> Batch:
    def wider(value: Any) -> Any:
        return value.double() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value

    values = {each.name: wider(getattr(batch, each.name)) for each in fields(batch)}
    if batch.entries is not None:
        values["entries"] = replace(batch.entries, count=batch.entries.count.double())
    return Batch(**values)


def train(name: str, job: dict[str, Any], folder: Path, group: Watched) -> None:
    """One training, by `run.train`.

    In the job: strict, parameters and cells in float64; blocks, the last process asks for blocks of neighbouring cells.
    """
    notes, strict, group.differing = Notes(), job["strict"], set()
    build = run._build

    class Kept(Training):
        def run(self) -> list[dict[str, Any]]:
            notes.training = self
            return super().run()

    def built(wanted: run.Run, device: torch.device) -> tuple[Any, Batches]:
        model, batches = build(wanted, device)
        notes.of(batches, strict)
        if job["blocks"] and group.rank == group.count - 1:  # only one node is short of memory for the file
            batches.placement = replace(batches.placement, block_rows=8)
        return model.double() if strict else model, batches

    @contextmanager
    def joined(device_type: str) -> Iterator[Processes]:
        yield group

    run._build, run.Training, run.processes = built, Kept, joined  # type: ignore[misc,assignment]
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
        settings = settings_class(job["settings"]["mode"])(**job["settings"])
        priors = {prior: Path(path) for prior, path in job["priors"].items()}
        start = folder / job["after"] / "model.pt" if job["after"] else None
        files = [folder / name / file for file in ("model.pt", "history.parquet")]
        wanted = run.Run(settings, 1, Path(job["counts"]), *files, priors, start, "code")
        run.train(wanted)
        training = notes.training
        assert training is not None, "a model that is trained by gradients"
        origin = run._origin(wanted, torch.device("cpu"), group)
        save_model(folder / name / f"rank{group.rank}.pt", training.model, training.batches.statistics, origin)
        told = {"seen": notes.seen, "differing": sorted(group.differing)}
        (folder / name / f"notes{group.rank}.json").write_text(json.dumps(told))
        group.summed(torch.zeros(1))  # model.pt is there before another starts from it
    finally:
        run._build = build


def main() -> None:
    trainings, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group("gloo")
    for name, job in trainings.items():
        train(name, job, folder, Watched(rank, count))
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
