"""Loss terms that several families share; each sums over features and leaves the mean over items to the caller."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard_normal(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) in nats, summed over the last axis: (n, k), (n, k) -> (n,)."""
    variance = std.square()
    return 0.5 * (mean.square() + variance - 1 - variance.log()).sum(-1)


def squared_error(prediction: Tensor, target: Tensor, measured: Tensor | None = None) -> Tensor:
    """Squared error summed over the last axis: (n, g), (n, g) -> (n,); of the measured entries, (n, g) bool, alone."""
    error = prediction - target
    return (error if measured is None else error.masked_fill(~measured, 0)).square().sum(-1)
