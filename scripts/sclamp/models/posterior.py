"""Approximate posteriors, and how those of several modalities become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sclamp.models.losses import kl_to_standard_normal

Draw = Callable[[Tensor], Tensor]
"""Standard-normal noise in the shape, dtype and device of its argument."""


class Posterior(Protocol):
    """A distribution over the latent space for each of n items."""

    @property
    def mean(self) -> Tensor:
        """Mean of each item, (n, k)."""

    def sample(self, draw: Draw | None) -> Tensor:
        """One reparametrised sample, (n, k); the mean when `draw` is None."""

    def kl(self) -> Tensor:
        """KL divergence from N(0, 1) in nats, (n,)."""


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian per item; mean and std are (n, k)."""

    mean: Tensor
    std: Tensor

    def sample(self, draw: Draw | None) -> Tensor:
        """See `Posterior`."""
        return self.mean if draw is None else self.mean + self.std * draw(self.mean)

    def kl(self) -> Tensor:
        """See `Posterior`."""
        return kl_to_standard_normal(self.mean, self.std)


@dataclass(frozen=True)
class Mixture:
    """A mixture of diagonal Gaussians per item; means and stds are (m, n, k), weights (m, n) sum to 1 over m."""

    means: Tensor
    stds: Tensor
    weights: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of the mixture, (n, k)."""
        return (self.weights.unsqueeze(-1) * self.means).sum(0)

    def sample(self, draw: Draw | None) -> Tensor:
        """A sample of one component per item, chosen with the mixture's weights; the mean when `draw` is None."""
        if draw is None:
            return self.mean
        uniform = torch.special.ndtr(draw(self.means[0, :, :1]))  # (n, 1)
        below = (uniform > self.weights.cumsum(0)[:-1].T).sum(1)  # (n,) index of the component
        chosen = below.view(1, -1, 1).expand(1, *self.means.shape[1:])
        mean, std = self.means.gather(0, chosen)[0], self.stds.gather(0, chosen)[0]
        return mean + std * draw(mean)

    def kl(self) -> Tensor:
        """Weighted mean of the components' KL divergences: an upper bound on the mixture's, by convexity."""
        return (self.weights * kl_to_standard_normal(self.means, self.stds)).sum(0)


def average(experts: Sequence[Gaussian]) -> Gaussian:
    """Mean of the means, mean of the standard deviations."""
    means, stds = _stacked(experts)
    return Gaussian(means.mean(0), stds.mean(0))


def precision_weighted(experts: Sequence[Gaussian]) -> Gaussian:
    """Product of the experts without the prior: what sciLaMA's code computes for both MoE and PoE."""
    means, stds = _stacked(experts)
    precision = 1 / (stds.square() + 1e-8)
    total = precision.sum(0)
    return Gaussian((precision * means).sum(0) / total, total.rsqrt())


def product_of_experts(experts: Sequence[Gaussian]) -> Gaussian:
    """Product of the experts and of the prior N(0, 1), itself an expert (Wu & Goodman, NeurIPS 2018)."""
    means, stds = _stacked(experts)
    precision = stds.square().reciprocal()
    total = 1 + precision.sum(0)
    return Gaussian((precision * means).sum(0) / total, total.rsqrt())


def mixture_of_experts(experts: Sequence[Gaussian]) -> Mixture:
    """Mixture in which an expert's weight for an item is its share of precision, geometric mean over dimensions."""
    means, stds = _stacked(experts)
    return Mixture(means, stds, (-2 * stds.log().mean(-1)).softmax(0))


FUSIONS: dict[str, Callable[[Sequence[Gaussian]], Posterior]] = {
    "average": average,
    "precision_weighted": precision_weighted,
    "poe": product_of_experts,
    "moe": mixture_of_experts,
}


def _stacked(experts: Sequence[Gaussian]) -> tuple[Tensor, Tensor]:
    return torch.stack([e.mean for e in experts]), torch.stack([e.std for e in experts])
