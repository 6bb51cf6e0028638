"""Principal components, exact, from one pass over the cells."""

from __future__ import annotations

import torch
from torch import Tensor

from sclamp.config.linear import PCASettings
from sclamp.models.base import ClosedFormModel, Stream
from sclamp.types import Batch, DataSpec, Want


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
        moments = _Moments(self.data.n_genes)
        for batch in stream.batches(self.fitted_to):
            moments.add(self._x(batch))
        if moments.n < 2:
            raise ValueError(f"pca: {moments.n} cells to fit to; at least 2 are needed")
        self._check_rank("cells less one", moments.n - 1)
        variances, vectors, total = moments.leading(self.settings.latent_dim)
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        self.mean.copy_(moments.mean())
        self.components.copy_((vectors * largest.sign()).T)
        self.explained_variance.copy_(variances)
        self.explained_variance_ratio.copy_(variances / total.clamp(min=1e-300))

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
        """Share of the variance that the components explain together."""
        return {"explained_variance_ratio": float(self.explained_variance_ratio.double().sum())}

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


class _Moments:
    """Sums over cells in float64, taken about the first batch's mean so that large means cost no digits.

    Cells are held as long as they are fewer than genes; then they give way to the (genes, genes) sum of products. So
    the largest matrix is as large as the smaller of both numbers squared.
    """

    def __init__(self, n_genes: int) -> None:
        self.n, self._n_genes = 0, n_genes
        self._origin = self._total = self._products = torch.empty(0)
        self._held: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        """Add cells (n, genes)."""
        x = x.double()
        if self.n == 0:
            self._origin, self._total = x.mean(0), x.new_zeros(self._n_genes)
        x = x - self._origin
        self.n += len(x)
        self._total = self._total + x.sum(0)
        self._held.append(x)
        if self.n > self._n_genes:
            if not self._products.numel():
                self._products = x.new_zeros(self._n_genes, self._n_genes)
            for rows in self._held:
                self._products.addmm_(rows.T, rows)
            self._held = []

    def mean(self) -> Tensor:
        """Mean of each gene, (genes,)."""
        return self._origin + self._total / self.n

    def leading(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The k largest variances (k,), their directions (genes, k), and the variance of all directions together."""
        shift = self._total / self.n
        if self._products.numel():
            covariance = (self._products - self.n * torch.outer(shift, shift)) / (self.n - 1)
            return *_leading(covariance, k), covariance.diagonal().sum()
        x = torch.cat(self._held) - shift
        variances, left = _leading(x @ x.T / (self.n - 1), k)
        return variances, torch.nn.functional.normalize(x.T @ left, dim=0), x.square().sum() / (self.n - 1)


def _leading(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues (k,) and their eigenvectors (n, k) of a symmetric matrix.

    LAPACK by way of scipy, which can stop at k; torch computes all of them, in three times the time.
    """
    from scipy.linalg import eigh

    n = len(matrix)
    values, vectors = eigh(matrix.cpu().numpy(), subset_by_index=[n - k, n - 1])
    found = (torch.from_numpy(array[..., ::-1].copy()).to(matrix.device) for array in (values, vectors))
    return next(found).clamp(min=0), next(found)
