"""Weights that change with the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearWarmup:
    """A weight that stays at `start` through epoch `hold`, then grows by `rate` per epoch up to `end`.

    Epochs count from 0. With rate 0 it stays at `start` for ever. sciLaMA's schedule of the KL weight beta
    (Hu et al., ICML 2025).
    """

    start: float
    end: float
    hold: int
    rate: float

    def at(self, epoch: int) -> float:
        """Weight in one epoch."""
        if epoch <= self.hold:
            return self.start
        return min(self.end, self.start + self.rate * (epoch - self.hold))

    def first_full_epoch(self) -> int:
        """First epoch with the final weight; 0 when the weight never moves."""
        if self.rate <= 0:
            return 0
        # Rounded first: (1 - 0) / 0.05 must count as 20 epochs, whatever binary fractions make of it.
        return math.ceil(round(self.hold + (self.end - self.start) / self.rate, 9))
