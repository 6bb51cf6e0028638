"""A prior of latents that is learned: a neural spline flow (Durkan et al., NeurIPS 2019), by zuko."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sclamp.models.posterior import Gaussian

FIXED_DRAWS = 32
"""Points that stand for the posterior where the result must not be random."""


class FlowPrior(nn.Module):
    """A density over the latent space, started at random near N(0, 1)."""

    def __init__(self, latent: int, transforms: int, hidden: Sequence[int]) -> None:
        super().__init__()
        import zuko

        self.flow = zuko.flows.NSF(features=latent, context=0, transforms=transforms, hidden_features=list(hidden))
        self.register_buffer("draws", spread_draws(FIXED_DRAWS, latent), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats, (n, k) -> (n,); a point of density zero counts as exp(-1e4)."""
        return torch.nan_to_num(self.flow().log_prob(z), neginf=-1e4)

    def kl(self, q: Gaussian, z: Tensor | None) -> Tensor:
        """Estimate KL(q || flow) in nats, (n,): exact entropy of q, log density at the sample z.

        Without a sample, the mean over a fixed set of draws from q, the same for every cell.
        """
        entropy = (0.5 * (1 + math.log(2 * math.pi)) + q.std.log()).sum(-1)
        if z is not None:
            return -entropy - self.log_prob(z)
        points = q.mean + q.std * self.get_buffer("draws").to(q.mean.dtype).unsqueeze(1)  # (draws, n, k)
        return -entropy - self.log_prob(points.flatten(0, 1)).unflatten(0, points.shape[:2]).mean(0)


def spread_draws(n: int, k: int) -> Tensor:
    """Points (n, k) like draws from N(0, 1), but even: quantiles of unit variance, in each dimension in another order.

    A Latin hypercube (McKay et al. 1979), always the same.
    """
    quantiles = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    quantiles = quantiles / quantiles.square().mean().sqrt()
    generator = torch.Generator().manual_seed(0)
    return torch.stack([quantiles[torch.randperm(n, generator=generator)] for _ in range(k)], 1)
