"""A contrastive encoder of cells: two augmented views of a cell are drawn together, all other cells pushed apart.

The encoder is a multi-layer perceptron with BatchNorm; the loss is NT-Xent over all cells of a batch, on however many
processes they lie. There is no decoder, and the embedding knows nothing of covariates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sclamp.config.contrastive import ContrastiveSettings
from sclamp.models.augmentations import Draws, Range, dropped, noisy, thinned
from sclamp.models.base import GradientModel, Stream
from sclamp.models.count_nets import full_precision
from sclamp.models.noise import NoiseOfRows
from sclamp.models.nt_xent import nt_xent
from sclamp.models.whole_batch import BatchNorm
from sclamp.types import Batch, DataSpec, Progress, Want


class Encoder(nn.Module):
    """widths (d0, ..., dn): hidden layers of a linear map, BatchNorm and ReLU, and a last linear map to dn.

    Linear maps before a BatchNorm have no bias, which it would take off again.
    """

    def __init__(self, widths: Sequence[int], batch_norm: bool) -> None:
        super().__init__()
        hidden = [nn.Linear(a, b, bias=not batch_norm) for a, b in itertools.pairwise(widths[:-1])]
        layers = [*hidden, nn.Linear(widths[-2], widths[-1])]
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.linear = nn.ModuleList(layers)
        self.norm = nn.ModuleList([BatchNorm(width) for width in widths[1:-1]] if batch_norm else [])

    def forward(self, x: Tensor) -> Tensor:
        """(n, d0) -> (n, dn)."""
        for i, layer in enumerate(self.linear[:-1]):
            x = layer(x)
            x = F.relu(self.norm[i](x) if self.norm else x)
        result: Tensor = self.linear[-1](x)
        return result


class Contrastive(GradientModel):
    """The contrastive encoder (mode `contrastive`).

    Buffers: gene_mean, gene_std (genes,) of the training cells' log-normalised expression.
    """

    loss_needs_whole_batch = True
    settings: ContrastiveSettings
    gene_mean: Tensor
    gene_std: Tensor
    _ranks: Tensor

    def __init__(self, settings: ContrastiveSettings, data: DataSpec) -> None:
        super().__init__(settings, data)
        self.encoder = Encoder([data.n_genes, *settings.hidden_dims, settings.latent_dim], settings.batch_norm)
        self.register_buffer("gene_mean", torch.zeros(data.n_genes))
        self.register_buffer("gene_std", torch.ones(data.n_genes))
        by_name = torch.tensor(sorted(range(data.n_genes), key=data.gene_ids.__getitem__))
        self.register_buffer("_ranks", by_name.argsort(), persistent=False)
        entry = settings.augmentation_of == "entry"
        self._binomial = Range(*settings.binomial, settings.binomial_probability, entry)
        self._gaussian = Range(*settings.gaussian, settings.gaussian_probability, entry)
        self._dropped = Range(*settings.dropped, settings.dropped_probability, entry)

    def wants(self) -> frozenset[Want]:
        """Counts: views are made of them."""
        return frozenset({"counts"})

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        return {"encoder.linear.0.weight": 1, "gene_mean": 0, "gene_std": 0}

    @torch.no_grad()
    def initialise(self, stream: Stream) -> None:
        """See `GradientModel`: mean and deviation of the genes, in one pass."""
        n: int | Tensor = 0
        total, squares = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in stream.batches("train"):
            x = self._lognorm(_counts(batch), batch.library_size).double()
            n = n + (len(x) if batch.measured is None else batch.measured.sum(0))
            total, squares = x.sum(0) + total.to(x.device), x.square().sum(0) + squares.to(x.device)
        n = torch.as_tensor(n).clamp_min(1)
        mean = total / n
        std = (squares / n - mean.square()).clamp_min(0).sqrt()
        self.gene_mean.copy_(mean)
        self.gene_std.copy_(torch.where(std > 1e-6, std, 1.0))

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """NT-Xent per cell; found: share of views that are nearest to their partner, of all views of the batch.

        The loss of a cell depends on which others are in the batch. Without `batch.noise` the views are a function of
        the cells' rows, so that validation sees the same ones each time.
        """
        draws: Draws = batch.noise or NoiseOfRows(batch.rows, self._ranks)
        views = torch.cat([self._view(batch, draws), self._view(batch, draws)])
        z = F.normalize(full_precision(self.encoder(views)), dim=1)
        first, second = z.chunk(2)
        pairs = nt_xent(first, second, self.settings.temperature, batch.gather)
        return {"loss": pairs.loss.mean(), "found": pairs.found.mean()}

    def embed_cells(self, batch: Batch) -> Tensor:
        """The cells as they are, encoded: (cells, latent); see `ContrastiveSettings.embedding`."""
        z = self.encoder(self._scaled(self._lognorm(_counts(batch), batch.library_size), batch.measured))
        return F.normalize(z, dim=1) if self.settings.embedding == "normalised" else z

    def _view(self, batch: Batch, draws: Draws) -> Tensor:
        """One augmented view of each cell, as the encoder reads it."""
        counts, library = thinned(_counts(batch), batch.library_size, self._binomial, draws)
        x = noisy(self._lognorm(counts, library), self._gaussian, draws)
        return self._scaled(dropped(x, self._dropped, draws), batch.measured)

    def _lognorm(self, counts: Tensor, library_size: Tensor) -> Tensor:
        recipe = self.data.recipe
        x = counts * (recipe.target_sum / library_size.clamp_min(1)).unsqueeze(1)
        return x.log1p() if recipe.log1p else x

    def _scaled(self, x: Tensor, measured: Tensor | None) -> Tensor:
        """As the encoder reads it; the gene's mean where a cell was not measured for it."""
        x = x if measured is None else torch.where(measured, x, self.gene_mean)
        if self.settings.input == "lognorm":
            return x
        z, clip = (x - self.gene_mean) / self.gene_std, self.data.recipe.clip
        return z if clip is None else z.clamp(-clip, clip)


def _counts(batch: Batch) -> Tensor:
    assert batch.counts is not None, "the batch holds what `wants` names"
    return batch.counts
