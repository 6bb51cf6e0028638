"""BatchNorm with statistics of each batch of the data by itself (Chang et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sclamp.models.count_nets import ConditionedLayer
from sclamp.models.whole_batch import gather_at_hand, whole_moments

MOMENTUM, EPS = 0.1, 1e-3
"""A batch of the data has fewer cells in a step than the step has: its running statistics must be quicker."""


class BatchwiseNorm(nn.Module):
    """Normalises each column of x (n, width) among the cells of one batch, then scales and shifts by batch.

    shares (n, batches) says which batch a cell is of; rows sum to 1. In training a batch with fewer than two cells in
    the step is normalised by its running statistics, as all are in evaluation. A cell of no known batch, which has
    equal shares of all, gets the mean of their statistics.
    """

    def __init__(self, width: int, n_batches: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_batches, width))
        self.bias = nn.Parameter(torch.zeros(n_batches, width))
        self.register_buffer("running_mean", torch.zeros(n_batches, width))
        self.register_buffer("running_var", torch.ones(n_batches, width))

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """See the class."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        if self.training:
            mean, variance = self._of_step(x, shares, mean, variance)
        centred = x - shares @ mean
        return centred * (shares @ variance + EPS).rsqrt() * (shares @ self.weight) + shares @ self.bias

    def _of_step(self, x: Tensor, shares: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        member = (shares == 1).to(x.dtype)
        sizes = member.sum(0).unsqueeze(1)
        here = member.T @ x / sizes.clamp_min(1)
        spread = member.T @ (x - member @ here).square() / sizes.clamp_min(1)
        sizes, here, spread = whole_moments(sizes, here, spread, gather_at_hand())
        enough = sizes > 1
        with torch.no_grad():
            unbiased = spread * sizes / (sizes - 1).clamp_min(1)
            for running, value in ((mean, here), (variance, unbiased)):
                running.copy_(torch.where(enough, running.lerp(value.to(running.dtype), MOMENTUM), running))
        return torch.where(enough, here, mean.clone()), torch.where(enough, spread, variance.clone())


class BatchwiseLayer(nn.Module):
    """A hidden layer of the encoder with `BatchwiseNorm` in place of its BatchNorm."""

    def __init__(self, layer: ConditionedLayer, n_batches: int) -> None:
        super().__init__()
        self.linear, self.bias, self.after = layer.linear, layer.bias, layer.after
        self.norm = BatchwiseNorm(layer.linear.out_features, n_batches)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """Inputs x (n, inputs); conditions (n, c), the batches' shares first."""
        y = self.linear(x)
        y = y if self.bias is None else y + self.bias(conditions)
        n_batches = len(self.norm.weight)
        return self.after(self.norm(y, conditions[:, :n_batches]))
