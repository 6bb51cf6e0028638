"""Probabilistic PCA: published numbers, dense Gaussians, and the maximum of the likelihood in closed form."""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sclamp.config.ppca import PPCASettings
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.ppca import PPCA
from sclamp.train.checkpoint import load_model
from sclamp.types import Batch, DataSpec, Progress

CPU, PROGRESS = torch.device("cpu"), Progress(0, 1)
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cellarium"
TRAIN = Path(__file__).resolve().parents[2] / "scripts" / "train_model.py"


class Given:
    """Noise that was drawn elsewhere."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def for_cells(self, like: torch.Tensor) -> torch.Tensor:
        assert like.shape == self.values.shape
        return self.values


def golden(flavor: str, **settings: Any) -> tuple[dict[str, np.ndarray], PPCA, Batch]:
    with np.load(GOLDEN / f"ppca_{flavor}.npz", allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    k, g = values["W_kg"].shape
    data = DataSpec(tuple(f"g{i}" for i in range(g)), n_cells=int(values["n_obs"]))
    model = PPCA(PPCASettings(latent_dim=k, flavor=flavor, **settings), data)
    with torch.no_grad():
        model.mean.copy_(torch.from_numpy(values["mean"]))
        model.loadings.copy_(torch.from_numpy(values["W_kg"]).T)
        model.log_sigma.fill_(math.log(float(values["sigma"])))
    x = torch.from_numpy(values["X"])
    batch = Batch(torch.arange(len(x)), torch.zeros(len(x), 0), torch.zeros(len(x)), torch.ones(len(x)), scaled=x)
    return values, model, batch


@pytest.mark.parametrize("flavor", ["marginalized", "linear_vae"])
def test_losses_and_gradients_of_the_published_code(flavor: str) -> None:
    """Theirs is the sum over all n_obs cells, ours the mean over cells."""
    values, model, batch = golden(flavor, expectation="sampled")
    n = float(values["n_obs"])
    if flavor == "linear_vae":
        batch.noise = Given(torch.from_numpy(values["eps"]))
    parts = model.loss(batch, PROGRESS)
    parts["loss"].backward()
    assert float(parts["loss"].detach()) * n == pytest.approx(float(values["loss_float64"]), rel=1e-6)
    assert model.loadings.grad.T.numpy() * n == pytest.approx(values["grad.W_kg"], rel=1e-4, abs=2e-3)
    assert float(model.log_sigma.grad) * n == pytest.approx(float(values["grad.sigma_unconstrained"]), rel=1e-5)
    assert float(parts["w_variance"].detach()) == pytest.approx(float(values["W_variance"]), rel=1e-6)
    assert float(parts["sigma_variance"].detach()) == pytest.approx(float(values["sigma_variance"]), rel=1e-6)


@pytest.mark.parametrize("flavor", ["marginalized", "linear_vae"])
def test_bfloat16_reaches_no_likelihood(flavor: str) -> None:
    _, model, batch = golden(flavor)
    plain = model.loss(batch, PROGRESS)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.loss(batch, PROGRESS)["loss"], plain)


def test_latent_variables_and_axes_of_the_published_code() -> None:
    values, model, batch = golden("marginalized", embedding="posterior_mean")
    with torch.no_grad():
        z = model.posterior_mean(batch.scaled - model.mean)
        rotation, lengths = model.axes()
        cells, genes, x = model.embed_cells(batch), model.embed_genes(), model.reconstruct(batch)
    assert z.numpy() == pytest.approx(values["predict_z"], abs=1e-5)
    assert lengths.square().numpy() + float(values["sigma"]) ** 2 == pytest.approx(values["L_k"], rel=1e-5)
    assert (rotation @ rotation.T).numpy() == pytest.approx(np.eye(3), abs=1e-5)
    directions = (genes / lengths).numpy()
    assert np.abs((directions * values["U_gk"]).sum(0)) == pytest.approx(np.ones(3), abs=1e-5)
    assert (genes.gather(0, genes.abs().argmax(0, keepdim=True)) > 0).all()
    assert (cells @ genes.T).numpy() == pytest.approx((x - model.mean).numpy(), abs=1e-5)  # turned alike


def test_projection_has_the_variance_of_the_expression() -> None:
    _, model, batch = golden("marginalized")
    with torch.no_grad():
        cells, x = model.embed_cells(batch), model.reconstruct(batch) - model.mean
    assert torch.cdist(cells, cells).numpy() == pytest.approx(torch.cdist(x, x).numpy(), abs=1e-4)


def test_the_likelihood_is_that_of_the_dense_gaussian() -> None:
    _, model, batch = golden("marginalized")
    w = model.loadings.detach().double()
    covariance = w @ w.T + (2 * model.log_sigma.detach().double()).exp() * torch.eye(len(w), dtype=torch.float64)
    dense = torch.distributions.MultivariateNormal(model.mean.double(), covariance).log_prob(batch.scaled.double())
    assert float(model.loss(batch, PROGRESS)["loss"].detach()) == pytest.approx(-float(dense.mean()), rel=1e-6)


def test_the_exact_bound_is_the_mean_over_samples_and_no_lower_than_the_loss() -> None:
    _, exact, batch = golden("linear_vae")
    _, sampled, _ = golden("linear_vae", expectation="sampled")
    _, marginal, _ = golden("marginalized")
    generator, draws = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        bound = float(exact.loss(batch, PROGRESS)["loss"])
        assert bound > float(marginal.loss(batch, PROGRESS)["loss"])
        assert float(sampled.loss(batch, PROGRESS)["loss"]) == bound  # without noise: exact
        for _ in range(600):
            batch.noise = Given(torch.randn(9, 3, generator=generator))
            draws.append(float(sampled.loss(batch, PROGRESS)["loss"]))
        assert float(exact.loss(batch, PROGRESS)["loss"]) == bound
    assert np.mean(draws) == pytest.approx(bound, abs=5 * np.std(draws) / 600**0.5)
    assert np.std(draws) > 0.01


# --- training ---------------------------------------------------------------------------------------------------------


def fitted(path: Path, **settings: Any) -> tuple[PPCA, Batches]:
    torch.manual_seed(0)
    model = PPCA(PPCASettings(latent_dim=3, device="cpu", **settings), describe(path, {}))
    batches = Batches(read_inputs(path, model.data), model.wants(), CPU)
    model.initialise(batches)
    return model, batches


def matrix(model: PPCA, batches: Batches) -> np.ndarray:
    parts = [getattr(batch, model.settings.input) for batch in batches.batches("train")]
    return torch.cat(parts).double().numpy()


def maximum(x: np.ndarray, k: int) -> tuple[np.ndarray, float, np.ndarray, float]:
    """Directions (genes, k), sigma^2 and eigenvalues of the maximum of the likelihood, and the loss there."""
    g = x.shape[1]
    values, vectors = np.linalg.eigh(np.cov(x.T, ddof=0))
    values, vectors = values[::-1], vectors[:, ::-1]
    sigma2 = values[k:].mean()
    log_det = np.log(values[:k]).sum() + (g - k) * np.log(sigma2)
    return vectors[:, :k], sigma2, values, 0.5 * (g * np.log(2 * np.pi) + log_det + g)


def cosines(directions: np.ndarray, model: PPCA) -> np.ndarray:
    """Of the angles between the principal subspace and that of the loadings."""
    found: np.ndarray = np.linalg.svd(directions.T @ np.linalg.qr(model.loadings.detach().numpy())[0])[1]
    return found


@pytest.mark.parametrize("kind", ["scaled", "lognorm"])
def test_the_start_is_the_maximum_of_the_likelihood(tiny_counts: Callable[..., Path], kind: str) -> None:
    model, batches = fitted(tiny_counts(n_cells=300), input=kind)
    x = matrix(model, batches)
    directions, sigma2, values, best = maximum(x, 3)
    assert model.mean.numpy() == pytest.approx(x.mean(0), abs=1e-5)
    assert float((2 * model.log_sigma.detach()).exp()) == pytest.approx(sigma2, rel=1e-5)
    found = (model.loadings @ model.loadings.T).detach().numpy()
    assert found == pytest.approx(directions * (values[:3] - sigma2) @ directions.T, abs=1e-4)
    (whole,) = batches.of([batches.inputs.rows("train")])
    for flavor in ("marginalized", "linear_vae"):  # the bound is tight there
        model.settings = model.settings.model_copy(update={"flavor": flavor})
        parts = model.loss(whole, PROGRESS)
        parts["loss"].backward()
        assert float(parts["loss"].detach()) == pytest.approx(best, rel=1e-6)
        assert float(model.loadings.grad.abs().max()) < 1e-3 and float(model.log_sigma.grad.abs()) < 1e-2
        model.zero_grad()
    total = float(parts["w_variance"].detach() + parts["sigma_variance"].detach())
    assert total == pytest.approx(x.var(0).sum(), rel=1e-5)  # the model splits the variance of the data


@pytest.mark.parametrize("flavor", ["marginalized", "linear_vae"])
def test_training_from_random_loadings_finds_the_maximum(tiny_counts: Callable[..., Path], flavor: str) -> None:
    model, batches = fitted(tiny_counts(n_cells=300), flavor=flavor, initialisation="random")
    x = matrix(model, batches)
    assert model.mean.numpy() == pytest.approx(x.mean(0), abs=1e-5)  # taken, not learned
    directions, sigma2, values, best = maximum(x, 3)
    assert cosines(directions, model).min() < 0.9
    (whole,) = batches.of([batches.inputs.rows("train")])
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.985**step
        optimiser.zero_grad()
        model.loss(whole, PROGRESS)["loss"].backward()
        optimiser.step()
    assert cosines(directions, model).min() > 0.999
    assert float((2 * model.log_sigma.detach()).exp()) == pytest.approx(sigma2, rel=0.01)
    assert best - 1e-3 < float(model.loss(whole, PROGRESS)["loss"].detach()) < 1.002 * best
    if flavor == "marginalized":  # the bound's axes turn slowly, and it sees their lengths only along them
        assert model.axes()[1].detach().square().numpy() == pytest.approx(values[:3] - sigma2, rel=0.02)


def test_from_the_command_line_the_solution_is_kept(tiny_counts: Callable[..., Path], tmp_path: Path) -> None:
    path = tiny_counts(n_cells=300)
    settings = {"mode": "ppca", "latent_dim": 3, "max_epochs": 3, "device": "cpu"}
    arguments = ["--counts", path, "--settings", json.dumps(settings), "--seed", "1", "--model", tmp_path / "m.pt",
                 "--history", tmp_path / "h.parquet"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_model.py", *map(str, arguments)])
        runpy.run_path(str(TRAIN), run_name="__main__")
    model = load_model(tmp_path / "m.pt").model
    batches = Batches(read_inputs(path, model.data), model.wants(), CPU)
    directions, sigma2, values, best = maximum(matrix(model, batches), 3)
    assert cosines(directions, model).min() > 0.9999
    history = pd.read_parquet(tmp_path / "h.parquet")
    assert history["train_loss"].iloc[0] == pytest.approx(best, rel=1e-3)
    share = history["val_w_variance"] / (history["val_w_variance"] + history["val_sigma_variance"])
    assert share.to_numpy() == pytest.approx(np.full(3, (values[:3] - sigma2).sum() / values.sum()), rel=1e-2)


def test_components_that_leave_no_noise_are_refused(tiny_counts: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="60 components were asked for, but there are 60 genes; at most 59 leave"):
        PPCA(PPCASettings(latent_dim=60), describe(tiny_counts(), {}))
    path = tiny_counts(n_cells=30)  # 21 training cells
    model = PPCA(PPCASettings(latent_dim=20), describe(path, {}))
    with pytest.raises(ValueError, match="20 components explain all variance of the 21 training cells"):
        model.initialise(Batches(read_inputs(path, model.data), model.wants(), CPU))
    model = PPCA(PPCASettings(latent_dim=21), describe(path, {}))
    with pytest.raises(ValueError, match="at most 20 are possible"):
        model.initialise(Batches(read_inputs(path, model.data), model.wants(), CPU))
