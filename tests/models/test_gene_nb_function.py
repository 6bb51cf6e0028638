"""Functions of gene priors with learned variances: against exact answers of Gaussian models."""

import numpy as np
import pytest
import torch

from sclamp.config.gene_nb import GeneNBSettings
from sclamp.models.gene_function import GeneFunction
from sclamp.models.gene_kernels import GeneKernels, Remembered

N_GENES, COLUMNS = 300, 6


def kernel_of(seed, n=N_GENES, width=8):
    """A smooth kernel between random genes."""
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    (kernel,) = GeneKernels(GeneNBSettings(kernel_width=0.4), 1)([x], [x])
    return kernel


def drawn(seed, parts):
    """Columns of values with covariance sum of variance x kernel, float32."""
    covariance = sum(variance * kernel.double() for variance, kernel in parts)
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(covariance)))
    return (root @ torch.from_numpy(np.random.default_rng(seed).standard_normal((len(root), COLUMNS)))).float()


def shrunk(function, y, information, rounds=200):
    """Alternate the mode of R, which gradients would find, with the updates; data y have precision `information`."""
    for _ in range(rounds):
        share = function.residual_variance() * information
        with torch.no_grad():
            function.residual.copy_(share / (1 + share) * y)
        function.update([], information)
    return function


def of_values(values, kernels, information=1e4, **options):
    """A function whose X is these values."""
    function = GeneFunction(len(values), values.shape[1], len(kernels), 0.5, **options)
    with torch.no_grad():
        function.residual.copy_(values)
    function.update(kernels, torch.as_tensor(information).expand_as(values).clone())
    return function


@pytest.mark.parametrize("start", [0.01, 0.3, 5.0])
def test_variance_is_that_of_the_marginal_likelihood(start):
    """For y ~ N(0, tau^2 + 1/F) the evidence is greatest at tau^2 = mean(y^2) - 1/F, from any start."""
    y = drawn(0, [(0.5**2 + 0.4**2, torch.eye(N_GENES))])
    y -= y.mean(0)
    function = shrunk(GeneFunction(N_GENES, COLUMNS, 0, start), y, torch.full_like(y, 0.4**-2))
    assert float(function.total_variance) == pytest.approx(float(y.square().mean()) - 0.4**2, rel=0.02)


def test_the_joint_mode_would_collapse_and_this_does_not():
    """With |X|^2 over all entries in place of the determined ones the same rounds end at no variance at all."""
    y = drawn(1, [(0.3**2 + 0.6**2, torch.eye(N_GENES))])
    information, variance = 0.6**-2, 0.3**2
    for _ in range(300):
        variance = float((variance * information / (1 + variance * information) * y).square().mean())
    assert variance < 1e-6
    function = shrunk(GeneFunction(N_GENES, COLUMNS, 0, 0.3), y, torch.full_like(y, information))
    assert float(function.total_variance) == pytest.approx(0.3**2, rel=0.4)


def log_likelihood(shares, kernels, x):
    """Of columns x under the mixed model, its scale at the maximum."""
    covariance = sum(s * k for s, k in zip(shares, [*kernels, torch.eye(len(x))], strict=True)).double()
    quadratic = float((x.double() * torch.linalg.solve(covariance, x.double())).sum()) / x.numel()
    return -0.5 * x.numel() * np.log(quadratic) - 0.5 * x.shape[1] * float(torch.logdet(covariance))


def test_shares_are_those_of_the_mixed_models_maximum_likelihood():
    kernels = [kernel_of(0), kernel_of(1)]
    x = drawn(2, [(0.5, kernels[0]), (0.5, torch.eye(N_GENES))])
    found = of_values(x, kernels).shares.tolist()
    centred = x - x.mean(0)
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 0.9, 19) for b in np.linspace(0, 0.5, 11) if a + b < 0.99]
    best = max(grid, key=lambda shares: log_likelihood(shares, kernels, centred))
    assert log_likelihood(found, kernels, centred) >= log_likelihood(best, kernels, centred) - 1.0
    assert found == pytest.approx(best, abs=0.06)
    assert found == pytest.approx([0.5, 0, 0.5], abs=0.15)  # the second prior says nothing and is silenced
    assert found[1] < 0.05


def test_shares_do_not_depend_on_the_scale_of_the_values():
    kernel = kernel_of(0)
    x = drawn(3, [(0.5, kernel), (0.5, torch.eye(N_GENES))])
    shares = [of_values(scale * x, [kernel]).shares for scale in (1.0, 1e-3)]
    assert shares[0].numpy() == pytest.approx(shares[1].numpy(), rel=1e-3)


def test_shares_are_found_once_from_values_that_no_prior_has_touched():
    kernel = kernel_of(0)
    function = of_values(drawn(4, [(1.0, torch.eye(N_GENES))]), [kernel])
    before = function.shares.clone()
    assert float(before[0]) < 0.05
    with torch.no_grad():
        function.residual.copy_(drawn(5, [(1.0, kernel)]))
    function.update([kernel], torch.full((N_GENES, COLUMNS), 1e4))
    assert torch.equal(function.shares, before)


def test_the_prior_says_the_mean_of_a_gaussian_process():
    """Known genes keep X; others are predicted as by regression on the known ones, weighted by what data determine."""
    both = kernel_of(6, N_GENES + 50)
    kernel, cross = both[:N_GENES, :N_GENES], both[N_GENES:, :N_GENES]
    x = drawn(7, [(0.7, both), (0.3, torch.eye(N_GENES + 50))])[:N_GENES]
    information = torch.logspace(-2, 4, N_GENES).unsqueeze(1).expand_as(x).clone()
    function = of_values(x, [kernel], information)
    tau, (prior, residual) = float(function.total_variance), function.shares.double().tolist()
    determined = 0.5**2 * information[:, 0] / (1 + 0.5**2 * information[:, 0])  # under the variance at the start
    noise = (tau * residual * determined.mean() / determined).double()
    exact = tau * prior * cross.double() @ torch.linalg.solve(tau * prior * kernel.double() + noise.diag(), x.double())
    with torch.no_grad():
        assert function.mean([cross]).numpy() == pytest.approx(exact.numpy(), abs=1e-4)
        assert function([kernel]).numpy() == pytest.approx(x.numpy(), abs=1e-5)


def test_a_change_of_scale_leaves_what_the_prior_says():
    kernel = kernel_of(0)
    function = GeneFunction(N_GENES, COLUMNS, 1, 0.5, "none")
    function.randomise(0.1)
    with torch.no_grad():
        before = function([kernel]).clone()
        function.update([kernel], torch.full((N_GENES, COLUMNS), 50.0))
        assert float(function.total_variance) != 0.25
        assert function([kernel]).numpy() == pytest.approx(before.numpy(), abs=1e-5)


def test_each_gene_has_its_own_variance_drawn_towards_a_common_one():
    x = drawn(8, [(0.04, torch.eye(N_GENES))])
    x[:20] *= 5
    spread = of_values(x, [], 1e6, variances="gene").spread[:, 0].sqrt()
    own = x.square().mean(1).sqrt() / x.square().mean().sqrt()
    assert float(spread[:20].mean()) > 1.5 * float(spread[20:].mean())
    assert float(spread[20:].std()) < 0.6 * float(own[20:].std())
    assert torch.equal(of_values(x, []).spread, torch.ones(N_GENES, 1))


def test_penalty_is_the_negative_log_density_of_what_gradients_move():
    kernel = kernel_of(0)
    function = of_values(drawn(9, [(1.0, torch.eye(N_GENES))]), [kernel])
    normal = torch.distributions.Normal(0.0, function.residual_variance().sqrt())
    residual = function.residual.detach()
    expected = float((normal.log_prob(torch.zeros_like(residual)) - normal.log_prob(residual)).sum())
    assert float(function.penalty([kernel]).detach()) == pytest.approx(expected, rel=1e-4)
    tied = GeneFunction(N_GENES, COLUMNS, 1, 0.5, "none")
    tied.randomise(0.1)
    with torch.no_grad():
        g, covariance = tied([kernel]).double(), 0.25 * kernel.double()
        exact = float((g * torch.linalg.solve(covariance, g)).sum()) / 2
        assert float(tied.penalty([kernel])) == pytest.approx(exact, rel=1e-2)


def test_kernels():
    a, b = (torch.randn(5, width, generator=torch.Generator().manual_seed(width)) for width in (4, 7))
    cosines = [(x @ x.T / x.norm(dim=1) / x.norm(dim=1).unsqueeze(1)).numpy() for x in (a, b)]
    smooth = [np.exp(-(1 - cosine) / 0.2) for cosine in cosines]

    def found(**settings):
        return GeneKernels(GeneNBSettings(kernel_width=0.2, **settings), 2)([a, 3 * b], [a, b])

    for kernel, expected in zip(found(), smooth, strict=True):
        assert kernel.numpy() == pytest.approx(expected, abs=1e-5)
    for kernel, expected in zip(found(kernel="linear"), cosines, strict=True):
        assert kernel.numpy() == pytest.approx(expected, abs=1e-5)
    (product,) = found(fusion="product")
    assert product.numpy() == pytest.approx(smooth[0] * smooth[1], abs=1e-5)
    assert GeneKernels(GeneNBSettings(fusion="product"), 0)([], []) == []


def test_remembered_kernels_follow_their_sources():
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    remembered, kernels = Remembered(), GeneKernels(GeneNBSettings(), 1)
    once = remembered.get(kernels, {"text": x})
    assert remembered.get(kernels, {"text": x}) is once
    x.copy_(x.roll(1, 0))
    (turned,) = remembered.get(kernels, {"text": x})
    assert turned.numpy() == pytest.approx(once[0].roll((1, 1), (0, 1)).numpy(), abs=1e-6)
