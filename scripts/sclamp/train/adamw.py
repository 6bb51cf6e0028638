"""AdamW (Loshchilov & Hutter, ICLR 2019) by torch's fused kernel, without torch.optim.

The first optimiser that torch.optim makes imports the whole compiler, a second of CPU time in every training job; the
kernel itself needs none of that. It can also be told, on the device, to do nothing: after a loss that is not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """Steps `parameters` along their gradients; those without a gradient stay as they are.

    learning_rate: may be set between steps. State of each parameter: number of steps, first and second moment.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        self.learning_rate, self._decay = learning_rate, weight_decay
        self._parameters = list(parameters)
        self._first = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in parameters]
        self._second = [torch.zeros_like(p, memory_format=torch.preserve_format) for p in parameters]
        # One tensor, so that a step counts all of them at once; the kernel wants one for each parameter.
        self._counts = torch.zeros(len(self._parameters), device=self._parameters[0].device)
        self._steps = list(self._counts.unbind())
        self._used: list[int] = []
        self._counted = self._counts

    def clear_gradients(self) -> None:
        """Drop all gradients, rather than fill them with zeros."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, skip: Tensor) -> None:
        """One step, unless `skip`, a float32 scalar on the device, is 1."""
        used = [i for i, p in enumerate(self._parameters) if p.grad is not None]
        if not used:
            return
        if used != self._used:
            self._used, self._counted = used, torch.zeros_like(self._counts)
            self._counted[used] = 1
        self._counts += self._counted
        torch._fused_adamw_(
            [self._parameters[i] for i in used],
            [p.grad for p in self._parameters if p.grad is not None],
            [self._first[i] for i in used],
            [self._second[i] for i in used],
            [],
            [self._steps[i] for i in used],
            lr=self.learning_rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=self._decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=skip,
        )
        self._counts.addcmul_(self._counted, skip, value=-1)

    def to_state(self) -> dict[str, Any]:
        """Tensors in the order of the parameters."""
        return {"first": self._first, "second": self._second, "steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `to_state` gave."""
        for own, saved in ((self._first, "first"), (self._second, "second"), (self._steps, "steps")):
            for mine, theirs in zip(own, state[saved], strict=True):
                mine.copy_(theirs)
