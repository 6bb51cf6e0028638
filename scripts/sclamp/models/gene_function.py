"""Values per gene that are a smooth function of gene priors plus a residual, with variances that are learned.

A matrix X (genes, columns) is G + R. Each column of G is a Gaussian process over genes with covariance sum_p sigma_p^2
K_p, one kernel for each gene prior; entries of R are N(0, sigma_r^2). Gradients move R, charged with its -log density.
All else is solved in closed form now and then:

1. tau^2, how large entries of X are, is judged by the evidence in which X is integrated out by Laplace's method
   (MacKay 1992): tau^2 = |X|^2 / sum tau^2 F / (1 + tau^2 F), where F is the information (Fisher) of all training cells
   about an entry. To maximise over X and tau at once has no answer, since the density grows without bound as both go
   to zero. Dividing by the number of entries that the data determine, instead of by all, keeps tau up.
2. How tau^2 is shared out to sigma_p^2 and sigma_r^2 is the maximum likelihood of the linear mixed model X = G + R.
   Shares do not depend on the scale of X, so shrinking X cannot drive them. They are found once, from values that no
   prior has touched yet: later, a prior would find in X what it put there itself.
3. G is the mean of the process given X, where a gene counts by how much of it the data determine: G = C alpha with
   alpha = (C + sigma_r^2 / w)^-1 X, C = sum_p sigma_p^2 K_p and weights w of mean 1. X stays, so that R becomes X - G.
   Other genes are predicted with the same alpha, through the kernel between them and the known genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sclamp.models.gene_kernels import in_float32

DAMPING = 0.5
"""Step of log tau^2 towards its new value."""
POOLING = 20.0
"""Entries that the common variance of residuals is worth to that of one gene, where each has its own."""
MOST_STEPS = 20
"""Of the search for the shares."""
LARGEST_RATIO = 9.0
"""Bound of |log sigma_p^2 / sigma_r^2|."""
MOST_GENES = 768
"""Genes that the mixed model is fitted to: those that the data tell most of."""
MOST_REFERENCES = 4096
"""The same for G."""
BOUNDS = (1e-4, 1e2)
"""Of tau."""


class GeneFunction(nn.Module):
    """X and its prior. Kernels are given to every method: (genes, genes) each.

    residual (genes, columns): R. dual (genes, columns): alpha. total_variance (): tau^2. shares (kernels + 1,):
    sigma^2 / tau^2, the residual's last. spread (genes, 1): variance of a gene's residuals over the common one.
    """

    residual: Tensor
    dual: Tensor
    total_variance: Tensor
    shares: Tensor
    spread: Tensor
    settled: Tensor

    def __init__(
        self,
        n_genes: int,
        columns: int,
        n_kernels: int,
        deviation: float,
        variances: Literal["shared", "gene", "none"] = "shared",
    ) -> None:
        """Start with tau = deviation.

        variances: of the residuals, one for all genes or each its own; none: no residual, and gradients move alpha.
        """
        super().__init__()
        self.n_kernels, self.each, self.tied = n_kernels, variances == "gene", variances == "none"
        self._known: tuple[object, Tensor] | None = None
        dual, residual = torch.zeros(n_genes, columns), torch.zeros(n_genes, columns)
        if self.tied:
            self.dual = nn.Parameter(dual)
            self.register_buffer("residual", residual)
        else:
            self.register_buffer("dual", dual)
            self.residual = nn.Parameter(residual)
        last = 0.0 if self.tied else 1.0
        self.register_buffer("shares", torch.tensor([1.0] * n_kernels + [last]) / max(n_kernels + last, 1))
        self.register_buffer("total_variance", torch.tensor(deviation**2))
        self.register_buffer("spread", torch.ones(n_genes, 1))
        self.register_buffer("settled", torch.tensor(False))

    def randomise(self, deviation: float) -> None:
        """Small random values: a function of the priors, or residuals where there are none."""
        with torch.no_grad():
            target = self.dual if self.n_kernels else self.residual
            target.copy_(torch.randn_like(target) * deviation / (self.total_variance if self.n_kernels else 1.0))

    def forward(self, kernels: Sequence[Tensor]) -> Tensor:
        """X, (genes, columns)."""
        if not self.n_kernels:
            return self.residual
        return self.mean(kernels) if self.tied else self._own_mean(kernels) + self.residual

    def mean(self, kernels: Sequence[Tensor]) -> Tensor:
        """G of the genes (n,) of which `kernels` (n, genes) say how alike they are to the known ones: (n, columns)."""
        with in_float32([self.dual]):
            return self._covariance(kernels) @ self.dual

    def penalty(self, kernels: Sequence[Tensor]) -> Tensor:
        """What gradients move is charged: -log p(R), or -log p(G) without a residual, in nats, up to a constant."""
        if self.tied:
            return (self.dual * self.mean(kernels)).sum() / 2
        return (self.residual.square() / self.residual_variance()).sum() / 2

    def residual_variance(self) -> Tensor:
        """Sigma_r^2 of each gene, (genes, 1)."""
        return self.total_variance * self.shares[-1] * self.spread

    @torch.no_grad()
    def update(self, kernels: Sequence[Tensor], information: Tensor, settle: bool = True) -> None:
        """The three steps; the last two wait until `settle`.

        information (genes, columns): F of the entries of X, in any rotation of the columns.
        """
        values = self(kernels)
        centred = values - values.mean(0)
        determined = self.total_variance * information / (1 + self.total_variance * information)
        new = centred.square().sum() / determined.sum().clamp_min(1e-6)
        total = self.total_variance.log().lerp(new.clamp(BOUNDS[0] ** 2, BOUNDS[1] ** 2).log(), DAMPING).exp()
        self.dual *= self.total_variance / total  # G stays
        self.total_variance.copy_(total)
        of_genes = determined.sum(1)
        if self.n_kernels and not self.tied and (settle or self.settled):
            if not self.settled:
                self._share_out(kernels, centred, of_genes)
            self._solve(kernels, values, of_genes)
        if self.each:
            self._spread_out(of_genes)

    def _share_out(self, kernels: Sequence[Tensor], values: Tensor, of_genes: Tensor) -> None:
        """Step 2: the likelihood, at its best scale, as a function of log sigma_p^2 / sigma_r^2."""
        at = of_genes.argsort(descending=True, stable=True)[:MOST_GENES]
        x = values[at].double()
        parts = torch.stack([kernel[at][:, at].double() for kernel in kernels])
        identity = torch.eye(len(at), dtype=x.dtype, device=x.device)
        ratios = torch.zeros(len(parts), dtype=x.dtype, device=x.device, requires_grad=True)
        search = torch.optim.LBFGS([ratios], max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

        def lost() -> Tensor:
            search.zero_grad()
            each = ratios.clamp(-LARGEST_RATIO, LARGEST_RATIO).exp().view(-1, 1, 1)
            root = torch.linalg.cholesky((each * parts).sum(0) + identity)
            whitened = torch.linalg.solve_triangular(root, x, upper=False)
            scale = whitened.square().mean().clamp_min(1e-30).log() * len(at) / 2
            value: Tensor = (scale + root.diagonal().log().sum()) / len(at)
            value.backward()
            return value

        with torch.enable_grad():
            search.step(lost)
        found = ratios.detach().clamp(-LARGEST_RATIO, LARGEST_RATIO).exp()
        self.shares.copy_(torch.cat([found, found.new_ones(1)]) / (found.sum() + 1))
        self.settled.fill_(True)

    def _solve(self, kernels: Sequence[Tensor], values: Tensor, of_genes: Tensor) -> None:
        """Step 3."""
        at = of_genes.argsort(descending=True, stable=True)[:MOST_REFERENCES]
        noise = self.residual_variance()[at, 0] * of_genes.mean() / of_genes[at].clamp_min(1e-6)
        covariance = self._covariance([kernel[at][:, at] for kernel in kernels])
        solved = torch.linalg.solve((covariance + noise.diag()).double(), values[at].double())
        self.dual.zero_()
        self.dual[at] = solved.to(self.dual.dtype)
        self.residual.copy_(values - self.mean(kernels))

    def _spread_out(self, of_genes: Tensor) -> None:
        """Variances of each gene's residuals, drawn towards the common one."""
        common = self.total_variance * self.shares[-1]
        squares = self.residual.square().sum(1)
        self.spread[:, 0] = (squares / common + POOLING) / (of_genes + POOLING)

    def _own_mean(self, kernels: Sequence[Tensor]) -> Tensor:
        """G of the known genes, which changes with the buffers and kernels alone: computed anew only when they do."""
        sources = (*kernels, self.dual, self.total_variance, self.shares)
        state = tuple((id(t), t._version, t.device) for t in sources)
        if self._known is None or self._known[0] != state:
            with torch.no_grad():
                self._known = (state, self.mean(kernels))
        return self._known[1]

    def _covariance(self, kernels: Sequence[Tensor]) -> Tensor:
        """C, (n, genes)."""
        variances = self.total_variance * self.shares
        return torch.stack([variance * kernel for variance, kernel in zip(variances, kernels, strict=False)]).sum(0)
