"""Several processes that train one model together (torchrun): who they are, and how they agree.

Each batch is shared out; gradients are averaged by the share of cells that a process held, so that the sum is the
gradient that one process would have had for the whole batch. A single process passes through unchanged.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sclamp.core.cli import SECONDS_FOR_THE_FIRST
from sclamp.core.errors import UserError

T = TypeVar("T")
PR_SET_PDEATHSIG = 1
MINUTES_TO_WAIT = 30
SECONDS_TO_BE_ENDED = 2 * SECONDS_FOR_THE_FIRST
"""torchrun ends all when one has failed. One that has only lost another waits for that: longer than the one that failed
waits before it says why, lest this be lost."""


class Processes:
    """The processes of one training. rank: this one's number; 0 writes. count: how many there are."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self._has_gradient: list[bool] = []
        self._agreed = False

    @property
    def writes(self) -> bool:
        """True in the one process that writes files and messages."""
        return self.rank == 0

    def share(self, rows: np.ndarray) -> tuple[np.ndarray, int]:
        """The part of a batch for this process, and where it starts; of one too small to share, process 0 takes all."""
        if len(rows) < 2 * self.count:  # BatchNorm needs two cells
            return (rows, 0) if self.rank == 0 else (rows[:0], 0)
        first, last = (len(rows) * rank // self.count for rank in (self.rank, self.rank + 1))
        return rows[first:last], first

    def gathering(self, total: int) -> Gathering | None:
        """What brings together the parts of a batch of `total` cells; None where one process holds all of it."""
        if self.count == 1 or total < 2 * self.count:
            return None
        first, last = (total * rank // self.count for rank in (self.rank, self.rank + 1))
        return Gathering(first, last - first, total)

    def average_gradients(self, parameters: Sequence[nn.Parameter], share: float, bad: Tensor) -> Tensor:
        """Replace gradients by their sum over processes, weighted with `share`; returns `bad` of any process.

        share: this process's cells over the whole batch's. bad: a scalar, 1 for a loss that is not finite.
        """
        if self.count == 1:
            return bad
        if share > 0:  # a process without cells has no gradients now, but must know which parameters have some
            self._has_gradient = [p.grad is not None for p in parameters]
        if not self._agreed:  # a training that goes on may begin with a batch that is process 0's alone
            self._has_gradient = self._as_in_first_process(self._has_gradient, len(parameters), bad.device)
            self._agreed = True
        used = [p for p, has in zip(parameters, self._has_gradient, strict=True) if has]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad * share for p in used]
        flat = torch.cat([part.flatten() for part in parts] + [bad.to(parts[0].dtype).view(1)])
        dist.all_reduce(flat)
        for parameter, part in zip(used, flat[:-1].split([p.numel() for p in used]), strict=True):
            parameter.grad = part.view_as(parameter)
        return (flat[-1] != 0).to(bad.dtype)  # NaN counts

    def _as_in_first_process(self, flags: list[bool], n: int, device: torch.device) -> list[bool]:
        shared = torch.tensor(flags or [False] * n, dtype=torch.int32, device=device)
        dist.broadcast(shared, 0)
        return [bool(flag) for flag in shared.tolist()]

    def summed(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def largest(self, number: int) -> int:
        """Largest of a number over all processes."""
        if self.count == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value)

    def from_first(self, value: T) -> T:
        """What the first process has; the others need not know it."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    def same_state(self, model: nn.Module) -> None:
        """Give all processes what the first one has: parameters and buffers, but gene priors, which each has read.

        Equal machines have made them equal already, but for steps on a batch too small to share; linear algebra on
        machines of another kind may differ in the last bits.
        """
        if self.count > 1:
            for name, value in model.state_dict().items():
                if not name.startswith("gene_prior_"):
                    dist.broadcast(value, 0)


class Gathering:
    """Rows of all processes from those of this one (see `sclamp.types.Gather`).

    start, own: where this process's cells begin in the batch of `total` cells, and how many they are.
    """

    def __init__(self, start: int, own: int, total: int) -> None:
        self.start, self.own, self.total = start, own, total

    def __call__(self, rows: Tensor) -> Tensor:
        """(m x own, k) -> (m x total, k)."""
        times, rest = divmod(len(rows), self.own)
        assert not rest, "as many rows for each cell"
        whole: Tensor = _Together.apply(rows, times * self.start, times * self.total, self.own / self.total)
        return whole

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes."""
        summed: Tensor = _Summed.apply(values, self.own / self.total)
        return summed


class _Together(torch.autograd.Function):
    """Gathers in the forward pass; in the backward pass adds up what the losses of all processes say of each row.

    The whole batch's loss is L = sum_p s_p L_p, with s_p the share of process p. `average_gradients` multiplies with
    s_q what process q computed, so that must be 1/s_q dL/d(rows of q) = 1/s_q sum_p s_p dL_p/d(rows of q).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, first: int, total: int, share: float) -> Tensor:
        """Zeros but for the own rows, summed over processes."""
        ctx.part, ctx.share = slice(first, first + len(rows)), share
        whole = rows.new_zeros(total, rows.shape[1])
        whole[ctx.part] = rows
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of the own rows."""
        return _of_all_losses(gradients[0], ctx.share)[ctx.part], None, None, None


class _Summed(torch.autograd.Function):
    """Sums over processes; the gradient is weighted as that of `_Together`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, share: float) -> Tensor:
        """See the class."""
        ctx.share, total = share, values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of the own values."""
        return _of_all_losses(gradients[0], ctx.share), None


def _of_all_losses(gradient: Tensor, share: float) -> Tensor:
    """What the losses of all processes say, as the one with this share of the cells has to pass it on."""
    weighted = gradient * share
    dist.all_reduce(weighted)
    return weighted / share


@contextmanager
def processes(device_type: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or stand alone without it."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    _end_with_parent()
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=MINUTES_TO_WAIT))
    rank, count = dist.get_rank(), dist.get_world_size()
    try:
        yield Processes(rank, count)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "peer" not in str(error):
            raise
        time.sleep(SECONDS_TO_BE_ENDED)
        raise UserError(
            f"process {rank} of {count} lost another one, which failed, was killed or is out of reach; what that one "
            "says stands above, or in the log of its node."
        ) from error
    finally:
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM when torchrun is gone: otherwise its processes would go on, with their GPUs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def check_sizes(n_train: int, batch_size: int, count: int) -> None:
    """Every process needs at least two cells of a full batch."""
    problems = []
    if batch_size < 2 * count:
        problems.append(f"batch_size: {batch_size} cells for {count} processes; at least {2 * count} are needed.")
    if n_train < 2 * count:
        problems.append(f"split: {n_train} training cells for {count} processes; at least {2 * count} are needed.")
    if problems:
        raise UserError(*problems)
