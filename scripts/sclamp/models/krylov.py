"""Leading directions of a covariance that is too large to keep, from several passes over the cells.

Randomised block Krylov iteration (Musco & Musco 2015): pass i multiplies the covariance C with a block of directions;
all blocks so far span a subspace whose best directions are taken (Rayleigh-Ritz). It needs far fewer passes than power
iteration, and the residual |C v - variance v| bounds the error of every variance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

SEED = 0
"""Seed of the first block; the result depends on it by less than the residual."""


@dataclass(frozen=True)
class Leading:
    """Leading directions of the covariance of n cells (sums of products divided by n - 1), all float64.

    mean (genes,), variances (k,) falling, directions (genes, k) orthonormal. total_variance: of all genes together.
    residual: the largest |C v - variance v| in units of that variance; each variance is right to this share or better.
    """

    n: int
    mean: Tensor
    variances: Tensor
    directions: Tensor
    total_variance: float
    residual: float
    passes: int


class Passes:
    """Products of the covariance with blocks of directions; each is one pass over the cells."""

    def __init__(self, cells: Callable[[], Iterable[Tensor]], n_genes: int) -> None:
        """cells: starts a pass; batches (n, genes), the same in every pass."""
        self._cells, self.n_genes, self.n, self.count = cells, n_genes, 0, 0
        self.squares = 0.0
        self.origin = self.total = torch.empty(0)

    def multiply(self, block: Tensor) -> Tensor:
        """Covariance times block, (genes, width) float64; ValueError for fewer than two cells."""
        n, squares, product = 0, 0.0, torch.zeros_like(block)
        total = block.new_zeros(self.n_genes)
        for x in self._cells():
            if not self.origin.numel():  # zeros of sparse cells, see StreamingCovariance
                self.origin = x.amin(0).double().to(block.device)
            y = x.double().sub_(self.origin)
            n += len(y)
            total += y.sum(0)
            if not self.count:
                squares += float(y.square().sum())
            product += _gram_times(y, block)
        if n < 2:
            raise ValueError(f"{n} cells to fit to; at least 2 are needed")
        if not self.count:
            self.n, self.total, self.squares = n, total, squares
        self.count += 1
        shift = total / n
        return product.addr_(shift, shift @ block, alpha=-n).div_(n - 1)

    @property
    def mean(self) -> Tensor:
        """Mean of each gene, (genes,)."""
        return self.origin + self.total / self.n

    @property
    def total_variance(self) -> float:
        """Sum of the variances of all genes."""
        return (self.squares - float(self.total.square().sum()) / self.n) / (self.n - 1)


def leading_directions(
    cells: Callable[[], Iterable[Tensor]],
    n_genes: int,
    k: int,
    *,
    oversampling: int = 20,
    tolerance: float = 1e-4,
    max_passes: int = 20,
    device: torch.device | str = "cpu",
) -> Leading:
    """The k leading directions, to a residual of `tolerance` or as good as `max_passes` make them.

    cells: starts a pass over batches (n, genes). oversampling: directions in a block beyond k. Memory: genes x (k +
    oversampling) x passes x 2 numbers of 8 bytes.
    """
    width = min(k + oversampling, n_genes)
    passes = Passes(cells, n_genes)
    generator = torch.Generator().manual_seed(SEED)
    block = torch.linalg.qr(torch.randn(n_genes, width, generator=generator, dtype=torch.float64))[0].to(device)
    basis, products = block, block.new_empty(n_genes, 0)
    while True:
        products = torch.cat([products, passes.multiply(block)], dim=1)
        values, turn = torch.linalg.eigh(basis.T @ products)
        values, turn = values.flip(0)[:k], turn.flip(1)[:, :k]
        directions = basis @ turn
        residuals = (products @ turn - directions * values).norm(dim=0) / values.clamp(min=1e-300)
        relevant = residuals[values > 1e-12 * values[0]]  # there are no further directions in what cells vary along
        residual = float(relevant.max()) if len(relevant) else 0.0
        room = min(width, n_genes - basis.shape[1])
        if residual <= tolerance or passes.count == max_passes or not room:
            break
        block = _new_directions(products[:, -block.shape[1] :], basis)[:, :room]
        basis = torch.cat([basis, block], dim=1)
    variances = values.clamp(min=0)
    return Leading(passes.n, passes.mean, variances, directions, passes.total_variance, residual, passes.count)


def _new_directions(block: Tensor, basis: Tensor) -> Tensor:
    """Orthonormal directions that the block adds to an orthonormal basis; twice is enough (Kahan)."""
    for _ in range(2):
        block = torch.linalg.qr(block - basis @ (basis.T @ block))[0]
    return block


def _gram_times(y: Tensor, block: Tensor) -> Tensor:
    """y.T @ (y @ block); cells of which most values are zero are multiplied as a sparse matrix."""
    if y.device.type != "cpu" or int(y.count_nonzero()) > 0.15 * y.numel():
        return y.T @ (y @ block)
    from scipy import sparse

    rows = sparse.csr_array(y.numpy())
    directions = block.numpy()
    return torch.from_numpy(rows.T @ (rows @ directions))
