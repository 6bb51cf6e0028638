"""Weights per gene that are a function of gene priors plus a residual, both shrunk by variances learned with them.

A matrix X (genes, columns) is Phi A + R: features Phi of the gene priors (genes, m) times A, with A ~ N(0, sigma_p^2)
for the features of gene prior p, and a residual R ~ N(0, sigma_r^2). Gradients move R; all else is solved in closed
form now and then, with X held fixed where A changes:

    A = (Phi' Phi / sigma_r^2 + 1 / sigma_p^2)^-1 Phi' X / sigma_r^2,    R = X - Phi A,
    sigma_r^2 = |R|^2 / (determined entries of R),    sigma_p^2 = |A_p|^2 / (determined entries of A_p).

The first is the mode of A. The others are MacKay's (1992) updates for the evidence, in which X and A are integrated
out by Laplace's method. Maximising over X, A and the variances at once would have no answer: the density grows without
bound as all of them go to zero. Dividing by the number of entries that the data determine, instead of by all, is what
keeps the variances up: with information F (the Fisher information of all training cells) about an entry of X, the data
determine the share sigma_r^2 F / (1 + sigma_r^2 F) of it given its mean, and of A what of these shares the features can
reach. Where the data say nothing, nothing is divided by and the variance stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

DAMPING = 0.5
"""Step of the log variances towards their new values."""
POOLING = 20.0
"""Entries that the common variance is worth to that of a single gene, where each has its own."""
SMALLEST, LARGEST = 1e-4, 1e2
"""Bounds of the standard deviations."""


class GeneFunction(nn.Module):
    """X and its prior. widths: features of each gene prior; none leaves the residual alone.

    maps (m, columns): A. residual (genes, columns): R, zero at first unless it is all there is. residual_variance
    (1, 1), or (genes, 1) if each gene has its own. prior_variance (priors,).
    """

    def __init__(
        self,
        n_genes: int,
        columns: int,
        widths: Sequence[int],
        deviation: float,
        variances: Literal["shared", "gene", "none"] = "shared",
    ) -> None:
        """Start with this standard deviation everywhere.

        variances: of the residuals, one for all genes or each its own; none: no residual, and gradients move A.
        """
        super().__init__()
        self.widths, self.each, self.tied = tuple(widths), variances == "gene", variances == "none"
        maps, residual = torch.zeros(sum(widths), columns), torch.zeros(n_genes, columns)
        if self.tied:
            self.maps = nn.Parameter(maps)
            self.register_buffer("residual", residual[:0])
        else:
            self.register_buffer("maps", maps)
            self.residual = nn.Parameter(residual)
        each = self.each
        self.register_buffer("residual_variance", torch.full((n_genes if each else 1, 1), deviation**2))
        self.register_buffer("prior_variance", torch.full((len(self.widths),), deviation**2))

    def randomise(self) -> None:
        """Draw A from its prior; without gene priors, R."""
        with torch.no_grad():
            if self.widths:
                self.maps.copy_(torch.randn_like(self.maps) * self._feature_variance().sqrt().unsqueeze(1))
            else:
                self.residual.copy_(torch.randn_like(self.residual) * self.deviations()[0])

    def forward(self, features: Tensor) -> Tensor:
        """X, (genes, columns)."""
        if self.tied:
            return self.mean(features)
        return self.mean(features) + self.residual if self.widths else self.residual

    def mean(self, features: Tensor) -> Tensor:
        """What the gene priors say of genes with these features, (genes, columns)."""
        return features @ self.maps

    def penalty(self) -> Tensor:
        """What gradients move is charged: -log p(R), or -log p(A) without a residual, in nats, up to a constant."""
        if self.tied:
            return (self.maps.square() / self._feature_variance().unsqueeze(1)).sum() / 2
        return (self.residual.square() / self.get_buffer("residual_variance")).sum() / 2

    def deviations(self) -> tuple[Tensor, Tensor]:
        """Standard deviations: of the residual, (1, 1) or (genes, 1), and of each gene prior's function, (priors,)."""
        return self.get_buffer("residual_variance").sqrt(), self.get_buffer("prior_variance").sqrt()

    @torch.no_grad()
    def update(self, features: Tensor, information: Tensor) -> None:
        """Solve for A and the variances. information (genes, columns): F of the entries of X, in any rotation."""
        variance = self.get_buffer("residual_variance")
        if self.tied:
            root = self._feature_variance().sqrt()
            spectrum, axes = _principal(features * root)
            reach = spectrum.unsqueeze(1) * information.mean(0)
            self._update_priors(axes.square() @ (reach / (1 + reach)).sum(1))
            return
        determined = variance * information / (1 + variance * information)  # (genes, columns)
        taken: Tensor | float = 0.0
        if self.widths:
            values, root = self(features), self._feature_variance().sqrt()
            weighted = features * root / variance.sqrt()
            spectrum, axes = _principal(weighted)
            solved = axes.T @ (weighted.T @ (values / variance.sqrt())) / (spectrum + 1).unsqueeze(1)
            self.maps.copy_(root.unsqueeze(1) * (axes @ solved))
            self.residual.copy_(values - features @ self.maps)
            reach = spectrum.unsqueeze(1) * determined.mean(0)
            taken = self._update_priors(axes.square() @ (reach / (1 + reach)).sum(1))
        self._update_residual(self.residual.square().sum(1, keepdim=True), determined.sum(1, keepdim=True), taken)

    def _update_priors(self, determined: Tensor) -> Tensor:
        """New prior variances; determined (m,): entries of each row of A. Returns how many there are in all."""
        variances = self.get_buffer("prior_variance")
        squares = self.maps.square().sum(1).split(self.widths)
        for place, (square, count) in enumerate(zip(squares, determined.split(self.widths), strict=True)):
            variances[place] = _towards(variances[place], square.sum() / count.sum().clamp_min(1e-6))
        return determined.sum()

    def _update_residual(self, squares: Tensor, determined: Tensor, taken: Tensor | float) -> None:
        """squares, determined (genes, 1): of the residual's entries; taken: entries that determine A instead."""
        variance = self.get_buffer("residual_variance")
        left = determined * (1 - taken / determined.sum().clamp_min(1e-6)).clamp(0.05, 1.0)
        common = squares.sum() / left.sum().clamp_min(1e-6)
        each = (squares + POOLING * common) / (left + POOLING)
        variance.copy_(_towards(variance, each if self.each else common.expand_as(variance)))

    def _feature_variance(self) -> Tensor:
        """Prior variance of the rows of A, (m,)."""
        variances = self.get_buffer("prior_variance")
        return torch.cat([v.expand(w) for v, w in zip(variances, self.widths, strict=True)])


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and axes of x' x."""
    spectrum, axes = torch.linalg.eigh(x.T @ x)
    return spectrum.clamp_min(0), axes


def _towards(old: Tensor, new: Tensor) -> Tensor:
    """Part of the way from one variance to another, on the log scale."""
    return (old.log().lerp(new.clamp(SMALLEST**2, LARGEST**2).log(), DAMPING)).exp()
