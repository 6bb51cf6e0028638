"""Where a training stands between two steps: all of it that is neither parameters nor optimiser state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sclamp.models.base import Model
from sclamp.train.distributed import Processes


@dataclass
class Standing:
    """epoch, step: to be done next. names, sums: parts of the loss, each summed over this epoch's cells; last, cells.

    parts: in how many a step's cells are done, one after the other, because together they need too much memory.
    best, best_loss, best_epoch: the kept parameters. compared: the loss that the next must undercut by min_delta, or
    else `waited` grows.
    """

    epoch: int = 0
    step: int = 0
    parts: int = 1
    names: list[str] = field(default_factory=list)
    sums: Tensor | None = None
    best: dict[str, Tensor] | None = None
    best_loss: float = float("inf")
    best_epoch: int | None = None
    compared: float = float("inf")
    waited: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, parts: Mapping[str, Tensor], n_cells: int) -> None:
        """Add a batch's means; stays on the device."""
        if not self.names:
            self.names = list(parts)
        values = torch.stack([parts[name].detach().float() for name in self.names]).double() * n_cells
        values = torch.cat([values, values.new_full((1,), n_cells)])
        self.sums = values if self.sums is None else self.sums + values

    def means(self, processes: Processes) -> dict[str, float]:
        """Means over all cells that were added, in all processes."""
        assert self.sums is not None, "an epoch has at least one batch"
        *sums, n_cells = processes.summed(self.sums).tolist()
        return {name: value / n_cells for name, value in zip(self.names, sums, strict=True)}

    def judge(self, loss: float, min_delta: float, model: Model) -> None:
        """Keep the parameters of a lower loss; count the validations that were no improvement."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best = {name: value.detach().clone() for name, value in model.learned_state().items()}
        if loss < self.compared - min_delta:
            self.compared, self.waited = loss, 0
        else:
            self.waited += 1

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Go to the next epoch."""
        self.history.append(row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, None

    def to_state(self) -> dict[str, Any]:
        """Tensors, lists, dicts and numbers only."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Standing:
        """What `to_state` gave, with its tensors on the device."""
        standing = cls(**state)
        standing.sums = None if standing.sums is None else standing.sums.to(device)
        if standing.best is not None:
            standing.best = {name: value.to(device) for name, value in standing.best.items()}
        return standing
