"""Normalised expression, importance weights and log-likelihoods of models of counts, against sums and integrals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sclamp.config.scvi import SCVISettings
from sclamp.core.errors import UserError
from sclamp.data.batches import entries_of
from sclamp.models.count_outputs import (
    as_batches,
    batch_names,
    importance_weights,
    log_likelihood,
    normalised_expression,
    posterior_samples,
)
from sclamp.models.noise import Noise
from sclamp.models.scvi import SCVI
from sclamp.types import Batch, Covariates, DataSpec

GENES, CELLS = 10, 6
COUNTS = torch.from_numpy(np.random.default_rng(2).poisson(3, (CELLS, GENES))).float()
DATA = DataSpec(
    tuple(f"g{i}" for i in range(GENES)), ("x", "y", "w"),
    covariates=Covariates({"kind": ("u", "v"), "batch": ("x", "y", "w")}), batch_columns=(2, 5), n_cells=CELLS,
)  # fmt: skip


def build(**settings: object) -> SCVI:
    torch.manual_seed(0)
    return SCVI(SCVISettings(**{"hidden_dims": (8,), "latent_dim": 1, **settings}), DATA).eval()


def cells(seed: int = 0) -> Batch:
    covariates = torch.cat([torch.eye(2)[torch.arange(CELLS) % 2], torch.eye(3)[torch.arange(CELLS) % 3]], 1)
    return Batch(
        torch.arange(CELLS), covariates, torch.arange(CELLS) % 3, COUNTS.sum(1), log_counts=COUNTS.log1p(),
        entries=entries_of(COUNTS), noise=Noise(seed, 0, 0, CELLS),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("settings", [{}, {"link": "softplus"}, {"likelihood": "zinb"}, {"latent": "ln"}])
def test_rows_sum_to_the_library_also_when_weighted_by_importance(settings: dict[str, object]):
    """The reference averages weights over cells: its rows summed to between 2,642 and 21,579 instead of 10,000."""
    model, batch = build(**{**settings, "latent_dim": 3}), cells()
    z = posterior_samples(model, batch, 20)
    weights = importance_weights(model, batch, z)
    assert weights.sum(0).numpy() == pytest.approx(np.ones(CELLS), rel=1e-5)
    assert float(weights.max()) > 0.1  # not all alike
    for found in (
        normalised_expression(model, batch),
        normalised_expression(model, batch, z=z),
        normalised_expression(model, batch, z=z, weights=weights, targets=as_batches(DATA, batch.covariates)),
    ):
        assert found.sum(1).numpy() == pytest.approx(np.full(CELLS, 1e4), rel=1e-4)


def test_importance_weighting_gives_the_posterior_mean_and_the_likelihood_of_numerical_integration():
    model, batch = build(), cells(5)
    conditions = model.conditions(batch.covariates)
    grid = torch.linspace(-6, 6, 161)
    z = grid.view(-1, 1, 1).expand(-1, CELLS, 1)
    joint = torch.stack([model.log_likelihood(batch, one, conditions) + model.log_prior(one) for one in z])
    exact = torch.log(torch.trapezoid((joint - joint.max(0).values).exp(), grid, dim=0)) + joint.max(0).values
    samples = posterior_samples(model, batch, 800)
    assert log_likelihood(model, batch, samples).numpy() == pytest.approx(exact.numpy(), abs=0.15)
    density = (joint - exact).exp() * (grid[1] - grid[0])  # (grid, cells), the true posterior
    expected = normalised_expression(model, batch, z=z, weights=density)
    found = normalised_expression(model, batch, z=samples, weights=importance_weights(model, batch, samples))
    plain = normalised_expression(model, batch, z=samples)
    assert found.numpy() == pytest.approx(expected.numpy(), rel=0.05)
    assert float((plain - expected).abs().mean()) > 2 * float((found - expected).abs().mean())


def test_more_samples_never_bound_the_likelihood_worse():
    model = build()
    few, many = (
        np.mean([log_likelihood(model, b := cells(seed), posterior_samples(model, b, n)).mean() for seed in range(10)])
        for n in (1, 20)
    )
    assert many > few + 0.1


def test_genes_batches_and_libraries_that_are_asked_for():
    model, batch = build(latent_dim=2), cells()
    whole = normalised_expression(model, batch)
    assert torch.equal(normalised_expression(model, batch, genes=[7, 2]), whole[:, [7, 2]])
    assert normalised_expression(model, batch, library_size=1.0).numpy() == pytest.approx(whole.numpy() / 1e4, rel=1e-5)
    single = [normalised_expression(model, batch, targets=as_batches(DATA, batch.covariates, [b])) for b in "xyw"]
    everywhere = normalised_expression(model, batch, targets=as_batches(DATA, batch.covariates))
    assert everywhere.numpy() == pytest.approx(torch.stack(single).mean(0).numpy(), rel=1e-5)
    own = torch.stack([single[i % 3][i] for i in range(CELLS)])
    assert own.numpy() == pytest.approx(whole.numpy(), rel=1e-5)
    assert not torch.allclose(single[0], single[1])
    library = model.library(batch).unsqueeze(1)
    assert (whole / 1e4 * library).numpy() == pytest.approx(model.reconstruct(batch).numpy(), rel=1e-5)


def test_batches_are_found_among_the_covariates_and_wrong_names_are_told():
    batch = cells()
    assert batch_names(DATA) == ("x", "y", "w")
    (shown,) = as_batches(DATA, batch.covariates, ["y"])
    assert torch.equal(shown[:, :2], batch.covariates[:, :2])
    assert shown[:, 2:].tolist() == [[0, 1, 0]] * CELLS
    with pytest.raises(UserError, match=r"batch 'yy'.*'y'"):
        as_batches(DATA, batch.covariates, ["yy"])
    with pytest.raises(UserError, match="without the batch among its covariates"):
        as_batches(replace(DATA, batch_columns=(0, 0)), batch.covariates)
    with pytest.raises(ValueError, match="noise: the batch has none"):
        posterior_samples(build(), replace(batch, noise=None), 3)
