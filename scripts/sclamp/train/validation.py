"""The loss over the validation cells: no dropout, no noise, the same numbers every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch

from sclamp.core.errors import UserError
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut
from sclamp.models.base import GradientModel
from sclamp.train.backward import precision
from sclamp.train.distributed import Processes
from sclamp.train.shortage import in_parts
from sclamp.train.standing import Standing
from sclamp.types import Progress


def validate(
    model: GradientModel, batches: Batches, processes: Processes, names: Sequence[str], progress: Progress, parts: int,
    told: Callable[[int], None],
) -> dict[str, float]:  # fmt: skip
    """Mean loss and its other parts, in the order of `names`, over the validation cells of all processes.

    parts: in how many each batch is done. told: is given the number of cells that have been seen.
    """
    model.eval()
    zeros = torch.zeros(len(names) + 1, dtype=torch.float64, device=batches.device)
    sums, seen = Standing(names=list(names), sums=zeros), 0
    plan = cut(batches.inputs.rows("val"), EVALUATION_ROWS)
    cuts = [in_parts(processes.share(rows)[0], parts) for rows in plan]
    rows = [part for each in cuts for part in each]
    with torch.no_grad(), precision(model.settings.precision, batches.device), closing(batches.of(rows)) as stream:
        for whole, each in zip(plan, cuts, strict=True):
            for _ in each:
                if len(batch := next(stream)):
                    batch.gather = processes.gathering(len(whole))
                    sums.add(model.loss(batch, progress), len(batch))
            seen += len(whole)
            told(seen)
    return sums.means(processes)


def check_cells(train: np.ndarray, val: np.ndarray) -> None:
    """Training needs cells of both kinds."""
    problems = [
        f"split: there are no {name} cells ('{value}'); {why}."
        for name, value, rows, why in (
            ("training", "train", train, "nothing can be learned"),
            ("validation", "val", val, "they choose the checkpoint"),
        )
        if len(rows) == 0
    ]
    if len(train) == 1:
        problems.append("split: there is a single training cell; at least 2 are needed.")
    if problems:
        raise UserError(*problems)
