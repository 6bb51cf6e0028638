"""Log probabilities of counts against scipy, 60-digit arithmetic and limits (nb_logpmf_grid: shared reference set)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from sclamp.models.likelihoods import dense_log_prob, nb_log_prob, poisson_log_prob, zinb_log_prob

GRID = Path(__file__).parent.parent / "golden" / "cellarium" / "nb_logpmf_grid.npz"
RNG = np.random.default_rng(0)


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.as_tensor(np.asarray(array, np.float64)).to(dtype) for array in arrays]


def test_nb_equals_exact_arithmetic_on_a_grid_of_extremes():
    grid = np.load(GRID, allow_pickle=False)
    x, mu, theta = (grid[name].astype(np.float64) for name in ("x", "mu", "theta"))
    found = nb_log_prob(*tensors(x, np.log(mu), np.log(theta)))
    assert found.numpy() == pytest.approx(grid["log_prob_exact_f64"], rel=1e-9, abs=1e-9)


def test_float32_parameters_lose_no_more_than_their_own_rounding():
    """float32 log-gammas are wrong by up to 1e-3 on this grid; here only the parameters are rounded."""
    grid = np.load(GRID, allow_pickle=False)
    x, mu, theta = (grid[name].astype(np.float64) for name in ("x", "mu", "theta"))
    rounded = [np.log(values).astype(np.float32) for values in (mu, theta)]
    found = nb_log_prob(*tensors(x, *rounded, dtype=torch.float32))
    exact = nb_log_prob(*tensors(x, *rounded))
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(exact.numpy(), rel=1e-6, abs=1e-7)


def test_poisson_and_zinb_equal_scipy():
    x, mu, theta, logit = RNG.poisson(3, 200), RNG.gamma(2, 2, 200), RNG.gamma(2, 1, 200), RNG.normal(size=200)
    poisson = poisson_log_prob(*tensors(x, np.log(mu)))
    assert poisson.numpy() == pytest.approx(scipy.stats.poisson.logpmf(x, mu))
    share = 1 / (1 + np.exp(-logit))
    mixture = share * (x == 0) + (1 - share) * scipy.stats.nbinom.pmf(x, theta, theta / (theta + mu))
    zinb = zinb_log_prob(*tensors(x, np.log(mu), np.log(theta), logit))
    assert zinb.numpy() == pytest.approx(np.log(mixture))


def test_limits():
    x, log_mu = tensors(RNG.poisson(3, 50), RNG.normal(size=50))
    large, small = torch.full_like(x, 80.0), torch.full_like(x, -80.0)
    assert nb_log_prob(x, log_mu, large).numpy() == pytest.approx(poisson_log_prob(x, log_mu).numpy(), abs=1e-5)
    assert zinb_log_prob(x, log_mu, x * 0, small).numpy() == pytest.approx(nb_log_prob(x, log_mu, x * 0).numpy())
    assert zinb_log_prob(x * 0, log_mu, x * 0, large).abs().max() < 1e-12  # surely a zero


@pytest.mark.parametrize("log_mean", [-60.0, 0.0, 14.0])
@pytest.mark.parametrize("log_theta", [-200.0, -20.0, 0.0, 40.0, 200.0])
def test_values_and_gradients_are_finite_at_extremes(log_mean: float, log_theta: float):
    counts = torch.tensor([0.0, 1.0, 1e5])
    parameters = [torch.full((3,), value, requires_grad=True) for value in (log_mean, log_theta, 90.0)]
    value = zinb_log_prob(counts, *parameters)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert all(torch.isfinite(p.grad).all() for p in parameters)


def test_gradients_are_those_of_finite_differences():
    counts = torch.tensor([[0.0, 1.0, 7.0], [3.0, 0.0, 40.0]])
    parameters = tensors(RNG.normal(size=(2, 3)), RNG.normal(size=3), RNG.normal(size=(2, 3)))
    for parameter in parameters:
        parameter.requires_grad_()
    assert torch.autograd.gradcheck(lambda *p: dense_log_prob("zinb", counts, *p), parameters)


def test_a_cell_sums_over_its_measured_genes():
    x, log_mu = tensors(RNG.poisson(3, (4, 5)), RNG.normal(size=(4, 5)))
    measured = torch.from_numpy(RNG.random((4, 5)) < 0.5)
    log_theta = torch.zeros(5)
    found = dense_log_prob("nb", x, log_mu, log_theta, measured=measured)
    expected = [nb_log_prob(x[i], log_mu[i], log_theta)[measured[i]].sum() for i in range(4)]
    assert found.numpy() == pytest.approx(np.array(expected))
    assert dense_log_prob("poisson", x, log_mu).numpy() == pytest.approx(poisson_log_prob(x, log_mu).sum(1).numpy())


def test_missing_parameters_are_named():
    with pytest.raises(ValueError, match="likelihood 'zinb': log_theta is needed, and dropout_logits for zinb"):
        dense_log_prob("zinb", torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(2))
