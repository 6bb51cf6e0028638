"""How much the training cells say about the weights of each gene: the Fisher information of counts, per gene."""

from __future__ import annotations

from functools import cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from sclamp.models.base import Stream
from sclamp.models.count_nets import Conditions
from sclamp.models.gene_kernels import in_float32
from sclamp.models.whole_batch import gather_at_hand

MOMENTUM = 0.02
REFERENCES = 1024


class GeneInformation(nn.Module):
    """Counts of the genes, shares of the batches, and the second moments of the decoded factors.

    The expected information of a negative binomial count of mean mu and inverse dispersion theta about its log mean is
    mu / (1 + mu / theta). Its sum over the cells is taken at the gene's mean count, and the factors h that multiply the
    weights as if they were independent of it: information about weights along the k-th principal axis of h is that sum
    times e_k, the variance of h along it (its mean says no more than the bias). gene_counts (genes,): mean over all
    training cells; gene_measured: share of them that the gene was measured in; both 1 until `count`.
    """

    def __init__(self, n_genes: int, width: int, n_batches: int) -> None:
        super().__init__()
        self.register_buffer("gene_counts", torch.ones(n_genes))
        self.register_buffer("gene_measured", torch.ones(n_genes))
        self.register_buffer("batch_shares", torch.full((n_batches,), 1 / max(n_batches, 1)))
        for name in ("", "_running_mean"):
            self.register_buffer(f"factors{name}", torch.full((width,), 0.5))
            self.register_buffer(f"squares{name}", 0.5 * torch.eye(width))

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; what was seen up to a validation is what counts until the next one."""
        if not mode:
            for name in ("factors", "squares"):
                self.get_buffer(name).copy_(self.get_buffer(f"{name}_running_mean"))
        return super().train(mode)

    @torch.no_grad()
    def see(self, h: Tensor) -> None:
        """Take note of decoded factors (n, width) of a training step."""
        with in_float32([h]):
            h = h.to(self.get_buffer("factors"))
            sums = torch.cat([h.sum(0, keepdim=True), h.T @ h])
            gather = gather_at_hand()
            means = sums / len(h) if gather is None else gather.sum(sums) / gather.total
            self.get_buffer("factors_running_mean").lerp_(means[0], MOMENTUM)
            self.get_buffer("squares_running_mean").lerp_(means[1:], MOMENTUM)

    @torch.no_grad()
    def count(self, stream: Stream, conditions: Conditions) -> None:
        """Count the training cells."""
        counts, measured = self.get_buffer("gene_counts"), self.get_buffer("gene_measured")
        sums, seen, n_cells = torch.zeros_like(counts), torch.zeros_like(counts), 0
        batches = torch.zeros_like(self.get_buffer("batch_shares"))
        for batch in stream.batches("train"):
            assert batch.entries is not None, "the batch holds what `wants` names"
            gene = batch.entries.position % len(counts)
            count = batch.entries.count
            if batch.measured is not None:
                count = count * batch.measured.flatten()[batch.entries.position]
            sums.index_add_(0, gene, count)
            seen += len(batch) if batch.measured is None else batch.measured.sum(0)
            batches += conditions.shares(batch.covariates).sum(0)
            n_cells += len(batch)
        counts.copy_(sums / max(n_cells, 1))
        measured.copy_(seen / max(n_cells, 1))
        self.get_buffer("batch_shares").copy_(batches / max(n_cells, 1))

    def of_genes(self, theta: Tensor | None, n_cells: int) -> Tensor:
        """Information of all training cells about a gene's bias, (genes,); theta None for Poisson counts."""
        counts = self.get_buffer("gene_counts")
        if theta is not None:
            counts = counts / (1 + counts / self.get_buffer("gene_measured").clamp_min(1e-6) / theta)
        return n_cells * counts

    def of_weights(self, of_genes: Tensor) -> Tensor:
        """About weights that are divided by the root of the width, along the principal axes of h: (genes, width)."""
        mean, squares = self.get_buffer("factors"), self.get_buffer("squares")
        with in_float32([mean]):
            sizes = torch.linalg.eigvalsh(squares - mean.outer(mean)).clamp_min(0)
        return of_genes.unsqueeze(1) * sizes / len(mean)

    def of_batches(self, of_genes: Tensor) -> Tensor:
        """About a gene's bias in each batch, (genes, batches)."""
        return of_genes.unsqueeze(1) * self.get_buffer("batch_shares")


@cache
def reference_latents(latent: int) -> Tensor:
    """Draws from N(0, 1), (2 x REFERENCES, latent), centred and of unit covariance; the same every time."""
    drawn = np.random.RandomState(0).standard_normal((max(REFERENCES, 2 * latent), latent))
    both = np.concatenate([drawn, -drawn])
    root = np.linalg.cholesky(both.T @ both / len(both))
    return torch.from_numpy(np.linalg.solve(root, both.T).T.astype(np.float32))
