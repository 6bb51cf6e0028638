"""Means and covariances of cells that come as a stream: exact, in one pass, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SPARSE_BELOW = 0.15
"""Share of values off the origin below which cells are multiplied as sparse rows; at this share both are as fast."""


class StreamingCovariance:
    """Mean and covariance over cells (n, genes), and the leading directions of the covariance.

    Sums are in float64 about an origin: each gene's smallest value in the first batch. That keeps the digits where
    means are large, and turns cells without a count of a gene into exact zeros, whatever the gene was shifted and
    scaled by, so that sparse expression costs sparse products.

    Cells are held as long as they are fewer than genes; then they give way to the (genes, genes) sum of products. So
    the largest matrix is as large as genes x the smaller of both numbers.
    """

    def __init__(self, n_genes: int) -> None:
        self.n, self.n_genes = 0, n_genes
        self._origin = self._total = torch.empty(0)
        self._products: Tensor | None = None
        self._held: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        """Add cells (n, genes) of any floating type and device."""
        if self.n == 0:
            self._origin = x.amin(0).double()
            self._total = torch.zeros_like(self._origin)
        self.n += len(x)
        if self._products is None:
            self._held.append(x.clone())
            if self.n > self.n_genes:
                self._products = x.new_zeros(self.n_genes, self.n_genes, dtype=torch.float64)
                for rows in self._held:
                    self._add_products(self._centred(rows))
                self._held = []
        else:
            self._add_products(self._centred(x))

    def mean(self) -> Tensor:
        """Mean of each gene, (genes,) float64."""
        return self._origin + self._shift()

    def covariance(self, ddof: int = 1) -> Tensor:
        """Covariance (genes, genes) float64; sums of products are divided by n - ddof."""
        if self._products is None:
            x = self._rows()
            return x.T @ x / (self.n - ddof)
        upper = self._upper(ddof)
        return upper.triu() + upper.triu(1).T

    def total_variance(self, ddof: int = 1) -> float:
        """Sum of the variances of all genes."""
        if self._products is None:
            return float(self._rows().square().sum()) / (self.n - ddof)
        squares = self._products.diagonal().sum() - self.n * self._shift().square().sum()
        return float(squares) / (self.n - ddof)

    def leading(self, k: int, ddof: int = 1) -> tuple[Tensor, Tensor]:
        """The k largest variances (k,) and their directions (genes, k), orthonormal, of either sign; float64."""
        if self._products is None:
            x = self._rows()
            variances, left = _largest(x @ x.T / (self.n - ddof), k)
            return variances, torch.nn.functional.normalize(x.T @ left, dim=0)
        return _largest(self._upper(ddof), k)

    def _shift(self) -> Tensor:
        """Mean about the origin, (genes,)."""
        if self._products is None:
            return torch.stack([(rows.double() - self._origin).sum(0) for rows in self._held]).sum(0) / self.n
        return self._total / self.n

    def _rows(self) -> Tensor:
        """The held cells about their mean, (n, genes)."""
        rows = torch.cat(self._held).double()
        return rows.sub_(self._origin).sub_(self._shift())

    def _centred(self, x: Tensor) -> Tensor:
        return x.double().sub_(self._origin)

    def _add_products(self, y: Tensor) -> None:
        """Add the cells' products to the upper triangle (a GPU fills both)."""
        assert self._products is not None
        self._total += y.sum(0)
        if y.device.type != "cpu":
            self._products.addmm_(y.T, y)
            return
        values, products = y.numpy(), self._products.numpy()
        n_values = int(np.count_nonzero(values))
        if n_values < SPARSE_BELOW * values.size:
            from sclamp.models.sparse_rows import add_products

            add_products(values, n_values, products)
        else:
            from scipy.linalg.blas import dsyrk

            # To LAPACK, which stores columns, the upper triangle of our rows is the lower one.
            dsyrk(1.0, values.T, beta=1.0, c=products.T, lower=1, overwrite_c=1)

    def _upper(self, ddof: int) -> Tensor:
        """Covariance, whose upper triangle is right."""
        assert self._products is not None
        shift = self._shift()
        covariance = self._products / (self.n - ddof)
        for rows, part in zip(covariance.split(512), shift.split(512), strict=True):  # no second matrix of this size
            rows.addr_(part, shift, alpha=-self.n / (self.n - ddof))
        return covariance


def _largest(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues (k,) and eigenvectors (n, k) of a symmetric matrix given by its upper triangle.

    LAPACK by way of scipy, which can stop at k; torch computes all of them, in three times the time. The matrix is
    overwritten.
    """
    from scipy.linalg import eigh

    n = len(matrix)
    values, vectors = eigh(
        matrix.cpu().numpy().T, lower=True, subset_by_index=[n - k, n - 1], overwrite_a=True, check_finite=False
    )
    found = (torch.from_numpy(array[..., ::-1].copy()).to(matrix.device) for array in (values, vectors))
    return next(found).clamp(min=0), next(found)
