"""Probabilistic principal components (Tipping & Bishop, J. R. Stat. Soc. B 61, 1999).

x = mean + W z + noise with z ~ N(0, I) and noise ~ N(0, sigma^2 I). The mean is that of the training cells, taken in
one pass and never learned: learned from zero, it holds back the loadings.

With M = W'W + sigma^2 I (k x k), the posterior of z is N(M^-1 W'(x - mean), sigma^2 M^-1), and no (genes x genes)
matrix is needed: |WW' + sigma^2 I| = sigma^(2(g - k)) |M|, and Woodbury's identity gives the quadratic form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sclamp.config.linear import PCASettings
from sclamp.config.ppca import PPCASettings
from sclamp.models.base import GradientModel, Stream
from sclamp.models.pca import PCA
from sclamp.types import Batch, DataSpec, Progress, Want

LOG_2PI = math.log(2 * math.pi)


class PPCA(GradientModel):
    """Probabilistic principal components, trained by gradients from the solution in closed form (mode `ppca`).

    Parameters: loadings W (genes, k), log_sigma (a scalar). Buffer: mean (genes,).
    """

    settings: PPCASettings
    mean: Tensor

    def __init__(self, settings: PPCASettings, data: DataSpec) -> None:
        """ValueError: as many components as genes, or more."""
        super().__init__(settings, data)
        if settings.latent_dim >= data.n_genes:
            raise ValueError(
                f"latent_dim: {settings.latent_dim} components were asked for, but there are {data.n_genes} genes; "
                f"at most {data.n_genes - 1} leave variance for the noise"
            )
        self.register_buffer("mean", torch.zeros(data.n_genes))
        self.loadings = nn.Parameter(0.1 * torch.randn(data.n_genes, settings.latent_dim))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def wants(self) -> frozenset[Want]:
        """See `Model`."""
        return frozenset({self.settings.input})

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        return {"loadings": 0, "mean": 0}

    @torch.no_grad()
    def initialise(self, stream: Stream) -> None:
        """See `GradientModel`: the mean, and unless the start is random the parameters of highest likelihood.

        With the eigenvalues of the covariance (divided by the number of cells), these are sigma^2 = the mean of the
        discarded ones, and W = U (L - sigma^2 I)^1/2 of the kept ones. ValueError: components that leave no variance
        for the noise.
        """
        settings = self.settings
        k = settings.latent_dim if settings.initialisation == "closed_form" else 1
        pca = PCA(PCASettings(latent_dim=k, input=settings.input), self.data).to(self.mean.device)
        pca.fit(stream)
        self.mean.copy_(pca.mean)
        if settings.initialisation == "random":
            return
        n = self.data.n_cells
        variances = pca.explained_variance.double() * ((n - 1) / n)
        total = float(variances[0] / pca.explained_variance_ratio[0].double())
        sigma2 = (total - float(variances.sum())) / (self.data.n_genes - k)
        if not sigma2 > 1e-6 * total / self.data.n_genes:
            raise ValueError(
                f"latent_dim: {k} components explain all variance of the {n} training cells and leave none for the "
                "noise; ask for fewer"
            )
        self.loadings.copy_(pca.components.T * (variances - sigma2).clamp_min(0).sqrt())
        self.log_sigma.fill_(0.5 * math.log(sigma2))

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Negative log-likelihood per cell, or its upper bound (see `PPCASettings.flavor`).

        w_variance and sigma_variance: how the model splits the total variance into that of the loadings, tr(W'W), and
        that of the noise, genes x sigma^2.
        """
        x = self._x(batch) - self.mean
        with torch.autocast(x.device.type, enabled=False):  # differences of large numbers, and Cholesky roots
            per_cell = self._marginal(x) if self.settings.flavor == "marginalized" else self._bound(x, batch)
        return {
            "loss": per_cell.mean(),
            "w_variance": self.loadings.square().sum(),
            "sigma_variance": self.data.n_genes * self._sigma2(),
        }

    def _marginal(self, x: Tensor) -> Tensor:
        """-log N(x; 0, WW' + sigma^2 I) of each centred cell, (n,)."""
        sigma2, g, k = self._sigma2(), *self.loadings.shape
        root = torch.linalg.cholesky(self._m())
        explained = torch.linalg.solve_triangular(root, (x @ self.loadings).T, upper=False).square().sum(0)
        log_det = 2 * root.diagonal().log().sum() + (g - k) * sigma2.log()
        return 0.5 * ((x.square().sum(1) - explained) / sigma2 + log_det + g * LOG_2PI)

    def _bound(self, x: Tensor, batch: Batch) -> Tensor:
        """Minus the lower bound by q(z|x) = N(posterior mean, diag(sigma^2 / M_jj)) of each centred cell, (n,)."""
        sigma2, g = self._sigma2(), len(self.loadings)
        mean, variance = self.posterior_mean(x), sigma2 / self._m().diagonal()
        if self.settings.expectation == "sampled" and batch.noise is not None:
            noise = batch.noise.for_cells(mean)
            z = mean + noise * variance.sqrt()
            error = (x - z @ self.loadings.T).square().sum(1)
            kl = 0.5 * (z.square() - noise.square() - variance.log()).sum(1)
        else:
            spread = (self.loadings.square().sum(0) * variance).sum()
            error = (x - mean @ self.loadings.T).square().sum(1) + spread
            kl = 0.5 * (mean.square() + variance - 1 - variance.log()).sum(1)
        return 0.5 * (error / sigma2 + g * (sigma2.log() + LOG_2PI)) + kl

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the latent variables of centred cells (n, genes): (n, k), in the order of the loadings' columns."""
        return torch.linalg.solve(self._m(), (x @ self.loadings).T).T

    def embed_cells(self, batch: Batch) -> Tensor:
        """The cells along the principal axes, (cells, k): see `PPCASettings.embedding`."""
        rotation, lengths = self.axes()
        z = self.posterior_mean(self._x(batch) - self.mean) @ rotation
        return z * lengths if self.settings.embedding == "projection" else z

    def embed_genes(self) -> Tensor:
        """Loadings along the principal axes, (genes, k): W turned so that its columns are orthogonal."""
        return self.loadings @ self.axes()[0]

    def reconstruct(self, batch: Batch) -> Tensor:
        """Expected expression given the posterior mean, (cells, genes)."""
        return self.mean + self.posterior_mean(self._x(batch) - self.mean) @ self.loadings.T

    def axes(self) -> tuple[Tensor, Tensor]:
        """The rotation (k, k) of the latent space to the principal axes, longest first, and their lengths (k,).

        The likelihood does not see a rotation of the latent space. Signs: each gene axis' largest entry is positive.
        """
        squares, rotation = torch.linalg.eigh((self.loadings.T @ self.loadings).double())
        rotation = rotation.flip(1).to(self.loadings.dtype)
        turned = self.loadings @ rotation
        signs = turned.gather(0, turned.abs().argmax(0, keepdim=True)).sign()
        return rotation * signs, squares.flip(0).clamp_min(0).sqrt().to(self.loadings.dtype)

    def _sigma2(self) -> Tensor:
        return (2 * self.log_sigma).exp()

    def _m(self) -> Tensor:
        """M = W'W + sigma^2 I, (k, k)."""
        identity = torch.eye(self.settings.latent_dim, device=self.loadings.device)
        return self.loadings.T @ self.loadings + self._sigma2() * identity

    def _x(self, batch: Batch) -> Tensor:
        x = batch.scaled if self.settings.input == "scaled" else batch.lognorm
        assert x is not None, "the batch holds what `wants` names"
        return x
