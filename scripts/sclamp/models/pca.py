"""Principal components: exact, from one pass over the cells, or from several passes where there are many genes."""

from __future__ import annotations

import torch
from torch import Tensor

from sclamp.config.linear import PCASettings
from sclamp.models.base import ClosedFormModel, Stream
from sclamp.models.covariance import StreamingCovariance
from sclamp.models.krylov import Leading, leading_directions
from sclamp.types import Batch, DataSpec, Want

LARGEST_MATRIX = 2**29
"""Bytes of the largest matrix that `solver: auto` keeps: the covariance of 8,192 genes."""


class PCA(ClosedFormModel):
    """Principal components of the training cells (mode `pca`).

    Buffers after a fit: mean (genes,), components (k, genes) with orthonormal rows, explained_variance and
    explained_variance_ratio (k,), all float32. The largest entry of each component is positive.
    """

    fitted_to: str | None = "train"
    mean: Tensor
    components: Tensor
    explained_variance: Tensor
    explained_variance_ratio: Tensor

    def __init__(self, settings: PCASettings, data: DataSpec) -> None:
        """ValueError: more components than genes."""
        super().__init__(settings, data)
        self._check_rank("genes", data.n_genes)
        self._accuracy: dict[str, float] = {}
        k = settings.latent_dim
        self.register_buffer("mean", torch.zeros(data.n_genes))
        self.register_buffer("components", torch.zeros(k, data.n_genes))
        self.register_buffer("explained_variance", torch.zeros(k))
        self.register_buffer("explained_variance_ratio", torch.zeros(k))

    def wants(self) -> frozenset[Want]:
        """See `Model`."""
        return frozenset({self.settings.input})

    def fit(self, stream: Stream) -> None:
        """See `ClosedFormModel`; ValueError: more components than cells (less one, for the mean)."""
        found = self._from_covariance(stream) if self._solver() == "covariance" else self._from_passes(stream)
        self._check_rank("cells less one", found.n - 1)
        largest = found.directions.gather(0, found.directions.abs().argmax(0, keepdim=True))
        self.mean.copy_(found.mean)
        self.components.copy_((found.directions * largest.sign()).T)
        self.explained_variance.copy_(found.variances)
        self.explained_variance_ratio.copy_(found.variances / max(found.total_variance, 1e-300))

    def embed_cells(self, batch: Batch) -> Tensor:
        """Coordinates of the cells along the components, (cells, k)."""
        return (self._x(batch) - self.mean) @ self.components.T

    def embed_genes(self) -> Tensor:
        """Loadings, (genes, k): components times the square root of their variance."""
        return self.components.T * self.explained_variance.sqrt()

    def reconstruct(self, batch: Batch) -> Tensor:
        """Projection of the cells onto the components, (cells, genes)."""
        return self.embed_cells(batch) @ self.components + self.mean

    def summary(self) -> dict[str, float]:
        """Share of the variance that the components explain together; passes and residual of a randomized fit."""
        return {"explained_variance_ratio": float(self.explained_variance_ratio.double().sum()), **self._accuracy}

    def _solver(self) -> str:
        if self.settings.solver != "auto":
            return self.settings.solver
        genes = self.data.n_genes
        smaller = min(genes, self.data.n_cells or genes)
        return "covariance" if 8 * genes * smaller <= LARGEST_MATRIX else "randomized"

    def _from_covariance(self, stream: Stream) -> Leading:
        sums = StreamingCovariance(self.data.n_genes)
        for batch in stream.batches(self.fitted_to):
            sums.add(self._x(batch))
        if sums.n < 2:
            raise ValueError(f"pca: {sums.n} cells to fit to; at least 2 are needed")
        self._check_rank("cells less one", sums.n - 1)
        variances, directions = sums.leading(self.settings.latent_dim)
        return Leading(sums.n, sums.mean(), variances, directions, sums.total_variance(), 0.0, 1)

    def _from_passes(self, stream: Stream) -> Leading:
        try:
            found = leading_directions(
                lambda: (self._x(batch) for batch in stream.batches(self.fitted_to)),
                self.data.n_genes,
                self.settings.latent_dim,
                oversampling=self.settings.oversampling,
                max_passes=self.settings.max_passes,
                device=self.mean.device,
            )
        except ValueError as error:
            raise ValueError(f"pca: {error}") from error
        self._accuracy = {"passes": float(found.passes), "residual": found.residual}
        return found

    def _check_rank(self, what: str, available: int) -> None:
        if self.settings.latent_dim > available:
            raise ValueError(
                f"latent_dim: {self.settings.latent_dim} components were asked for, but there are {available} {what}; "
                f"at most {available} are possible"
            )

    def _x(self, batch: Batch) -> Tensor:
        x = batch.scaled if self.settings.input == "scaled" else batch.lognorm
        assert x is not None, "the batch holds what `wants` names"
        return x
