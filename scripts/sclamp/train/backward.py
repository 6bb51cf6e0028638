"""The gradients of a loss, as the training loop and the estimate of its memory take them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from sclamp.models.base import GradientModel
from sclamp.models.noise import Noise, seed_default_generator
from sclamp.models.whole_batch import part_of_batch
from sclamp.types import Batch, Gather, Progress


def precision(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which losses are computed; name: as in `TrainingSettings.precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if name == "bf16" else nullcontext()


def backward(
    model: GradientModel, part: Batch, where: tuple[int, int, int], seed: int, progress: Progress,
    gather: Gather | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Add the gradients of a part of a batch to those of the parts before; returns the loss and what it is made of.

    where: the part's first cell in the batch, the cells over which the loss is to be a mean (a part's gradients count
    by its share of them), and the cells of the whole batch. Draws depend on seed, step and the cells' places in the
    batch alone, so that parts draw what the whole would have drawn. gather: see `Batch`.
    """
    start, among, total = where
    device, n = part.rows.device, len(part)
    seed_default_generator(device, "dropout", seed, progress.step, 0)
    part.noise, part.gather = Noise(seed, progress.step, start, total, device), gather
    with precision(model.settings.precision, device), part_of_batch(start, n, total, gather):
        found = model.loss(part, progress)
    found["loss"].backward(found["loss"].new_full((), n / among))
    return {name: value.detach() for name, value in found.items()}
