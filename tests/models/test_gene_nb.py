"""Mode gene_nb: its gene side, batch bias and unmeasured genes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sclamp.config.gene_nb import GeneNBSettings
from sclamp.data.batches import entries_of
from sclamp.models.gene_information import GeneInformation, reference_latents
from sclamp.models.gene_nb import STEPS_BETWEEN_UPDATES, GeneNB
from sclamp.models.noise import Noise
from sclamp.train.adamw import AdamW
from sclamp.types import Batch, Covariates, DataSpec, Progress

GENES, CELLS = 14, 12
KINDS = np.equal.outer(np.arange(CELLS) // 3 % 2, np.arange(GENES) % 2)
"""Two kinds of cells, each with genes of its own."""
COUNTS = torch.from_numpy(np.random.default_rng(1).poisson(np.where(KINDS, 4, 0.5))).float()
BATCHES = torch.arange(CELLS) % 3
PRIORS = {"text": 6, "protein.v2": 4}
VALIDATION, LAST = Progress(0, 10, validation=True), Progress(999, 1000, step=1)


def data(n_batches: int = 3, priors: dict[str, int] | None = None) -> DataSpec:
    names = tuple(f"b{i}" for i in range(n_batches))
    covariates = Covariates({"batch": names} if n_batches else {}, {"depth": (0.0, 1.0)})
    columns = (0, n_batches)
    genes = tuple(f"g{i}" for i in range(GENES))
    priors = PRIORS if priors is None else priors
    return DataSpec(genes, names, (), covariates, priors, n_cells=CELLS, batch_columns=columns)


def batch(counts: Tensor = COUNTS, batches: Tensor = BATCHES, **more: Any) -> Batch:
    one_hot = torch.where((batches >= 0).unsqueeze(1), torch.eye(3)[batches.clamp_min(0)], 0.0)
    covariates = torch.cat([one_hot, torch.linspace(-1, 1, len(counts)).unsqueeze(1)], 1)
    return Batch(
        torch.arange(len(counts)), covariates, batches, counts.sum(1) + 5, log_counts=counts.log1p(),
        entries=entries_of(counts), **more,
    )  # fmt: skip


def vectors(n: int = GENES, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, width, generator=generator) for name, width in PRIORS.items()}


class Cells:
    """The training cells as a stream."""

    def batches(self, split: str | None) -> list[Batch]:
        assert split == "train"
        return [part(batch(), slice(0, 5)), part(batch(), slice(5, CELLS))]


def part(whole: Batch, rows: slice) -> Batch:
    counts = COUNTS[rows]
    more = {} if whole.measured is None else {"measured": whole.measured[rows]}
    return replace(
        whole, rows=whole.rows[rows], covariates=whole.covariates[rows], batch=whole.batch[rows],
        library_size=whole.library_size[rows], log_counts=counts.log1p(), entries=entries_of(counts), **more,
    )  # fmt: skip


def build(spec: DataSpec | None = None, seed: int = 0, **settings: Any) -> GeneNB:
    spec = data() if spec is None else spec
    torch.manual_seed(seed)
    chosen = {"hidden_dims": (8,), "latent_dim": 3, "gene_priors": tuple(spec.gene_priors)}
    model = GeneNB(GeneNBSettings(**{**chosen, **settings}), spec)
    model.load_gene_priors({name: vector for name, vector in vectors().items() if name in spec.gene_priors})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def loss_of(model: GeneNB, cells: Batch | None = None, progress: Progress = VALIDATION) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(value) for name, value in model.loss(cells or batch(), progress).items()}


def trained(steps: int = 60, spec: DataSpec | None = None, **settings: Any) -> tuple[GeneNB, list[float]]:
    model = build(spec, **settings)
    model.initialise(Cells())
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], 1e-2, 0.0)
    losses = []
    for step in range(steps):
        model.train()
        cells = batch()
        cells.noise = Noise(0, step, 0, CELLS)
        parts = model.loss(cells, Progress(1000 * (1 + step), 10**6, step=step))
        optimizer.clear_gradients()
        parts["loss"].backward()
        optimizer.step(torch.zeros(()))
        losses.append(float(parts["reconstruction"].detach()))
    return model.eval(), losses


# --- gene side --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"residual": "gene"},
        {"residual": "none"},
        {"kernel": "linear"},
        {"fusion": "product"},
        {"likelihood": "zinb"},
        {"likelihood": "poisson"},
        {"latent": "ln"},
        {"batchwise_encoder_norm": True, "hidden_dims": (8, 6)},
        {"alignment": "mmd"},
        {"alignment": "adversary"},
        {"batch_bias": False, "covariate_layers": "all"},
        {"batch_bias": False, "batch_representation": "embedding"},
    ],
)
def test_every_option_trains_and_learns_its_variances(settings: dict[str, Any]):
    model, losses = trained(**settings)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    before, _ = trained(steps=0, **settings)
    assert not torch.equal(model.weights.total_variance, before.weights.total_variance)
    found = model.predict_genes(batch(), vectors(4, seed=9))
    assert found is not None
    assert found.shape == (CELLS, 4)
    assert bool((found > 0).all())
    assert bool(torch.isfinite(model.embed_genes()).all())


def test_without_gene_priors_the_residual_is_all_there_is():
    model, losses = trained(spec=data(priors={}))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    expected = (model.weights.residual / 8**0.5).detach().numpy()
    assert model.gene_weights().detach().numpy() == pytest.approx(expected)
    assert model.predict_genes(batch(), {}) is None


def test_the_control_without_gene_priors_of_a_model_without_residuals_has_residuals():
    settings = GeneNBSettings(gene_priors=("text",), residual="none").model_copy(update={"gene_priors": ()})
    model = GeneNB(settings, data(priors={}))
    assert model.weights.residual.requires_grad
    assert float(model.weights.residual.detach().std()) > 0


def test_a_new_gene_has_the_weights_and_bias_of_its_prior_and_no_residual():
    model = build()
    with torch.no_grad():
        known = model.reconstruct(batch())
        found = model.predict_genes(batch(), vectors())
        for function in (model.weights, model.bias, model.batch_bias):
            function.residual.zero_()
        plain = model.reconstruct(batch())
    library = model.library(batch()).unsqueeze(1)
    assert not torch.allclose(known, plain)
    ratios = (found / known.sum(1, keepdim=True)) / (plain / library)
    assert ratios.std(1).numpy() == pytest.approx(np.zeros(CELLS), abs=1e-4)  # but for the sum over known genes


def test_bias_of_new_genes_follows_their_priors():
    model = build()
    with torch.no_grad():
        model.weights.dual.zero_()
        model.weights.residual.zero_()
        model.bias.dual.normal_()
        found = model.predict_genes(batch(), vectors())
        expected = model.bias.mean(model._own_kernels())[:, 0]
    logs = found.log() - found.log().mean(1, keepdim=True)
    assert logs.numpy() == pytest.approx((expected - expected.mean()).expand(CELLS, -1).numpy(), abs=1e-5)


def test_gene_embedding_is_the_regression_of_log_rates_on_latents():
    model = build()
    z = torch.from_numpy(np.random.default_rng(5).standard_normal((40_000, 3)).astype(np.float32))
    with torch.no_grad():
        h = model.hidden(z, model.conditions(torch.zeros(len(z), 4)))
        rates = h @ model.gene_weights().T
        rates = rates - rates.mean(1, keepdim=True)
        exact = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), rates.numpy(), rcond=None)[0][:3].T
        found = model.embed_genes().numpy()
    assert found == pytest.approx(exact, abs=0.05 * np.abs(exact).max())
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.995


def test_reference_latents_are_standard():
    z = reference_latents(5).numpy()
    assert z.mean(0) == pytest.approx(np.zeros(5), abs=1e-6)
    assert z.T @ z / len(z) == pytest.approx(np.eye(5), abs=1e-5)


def test_shrinkage_is_a_charge_of_all_training_cells_together():
    one, ten = build(), build(replace(data(), n_cells=10 * CELLS))
    assert loss_of(ten)["shrinkage"] == pytest.approx(loss_of(one)["shrinkage"] / 10, rel=1e-5)


def test_validation_asks_for_held_out_cells_alone():
    model = build(alignment="mmd")
    of_validation, of_training = loss_of(model), loss_of(model, progress=LAST)
    assert of_validation["loss"] == pytest.approx(of_validation["reconstruction"] + of_validation["kl_cells"], rel=1e-5)
    charges = of_training["shrinkage"] + of_training["alignment"]
    assert of_training["loss"] == pytest.approx(of_validation["loss"] + charges, rel=1e-5)


def test_variances_wait_for_the_end_of_the_warm_up():
    model = build()
    before = [function.total_variance.clone() for function in (model.weights, model.bias, model.batch_bias)]

    def changed() -> list[bool]:
        functions = (model.weights, model.bias, model.batch_bias)
        return [not torch.equal(f.total_variance, b) for f, b in zip(functions, before, strict=True)]

    model.train().loss(batch(), Progress(49, 300, step=49))
    assert not any(changed())
    model.loss(batch(), Progress(50, 300, step=50))
    assert all(changed())
    assert not bool(model.weights.settled)
    before = [function.total_variance.clone() for function in (model.weights, model.bias, model.batch_bias)]
    every = round(STEPS_BETWEEN_UPDATES * 128 / CELLS)
    model.loss(batch(), Progress(49 + every, 1000, step=0))
    assert not any(changed())
    model.loss(batch(), Progress(50 + every, 1000, step=0))
    assert all(changed())
    assert bool(model.weights.settled)


def test_updates_wait_for_what_all_processes_agreed_on():
    """What single steps of a process see counts once its statistics have been averaged, which is before validation."""
    model = build()
    model.train().loss(batch(), Progress(0, 120))
    seen, agreed = model.information.squares_running_mean.clone(), model.information.squares.clone()
    assert not torch.equal(seen, agreed)
    model.eval()
    assert torch.equal(model.information.squares, seen)


def test_bias_starts_at_how_often_genes_are_counted():
    model = build()
    model.initialise(Cells())
    shares = COUNTS.sum(0) + 0.5
    expected = shares.log() - shares.log().mean()
    assert model.bias.residual.detach()[:, 0].numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert model.information.gene_counts.numpy() == pytest.approx(COUNTS.mean(0).numpy())
    assert model.information.batch_shares.numpy() == pytest.approx(np.full(3, 1 / 3))


def test_information_is_that_of_negative_binomial_counts():
    """Expected second derivative of the log-likelihood in the log mean, by enumeration."""
    mean, theta, n = 2.3, 1.7, 50
    count = np.arange(2000)
    law = torch.distributions.NegativeBinomial(theta, logits=torch.tensor(mean / theta).log().double())
    p = law.log_prob(torch.from_numpy(count)).exp().numpy()
    score = count - (count + theta) * mean / (mean + theta)
    information = GeneInformation(1, 4, 3)
    information.gene_counts.fill_(mean)
    found = information.of_genes(torch.tensor([theta]), n)
    assert float(found) == pytest.approx(n * float((p * score**2).sum()), rel=1e-5)
    h = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 1.0, 0.5, 0.0]) + 3
    for _ in range(400):
        information.see(h)
    information.eval()
    along = information.of_weights(found)[0]
    exact = float(found) / 4 * np.linalg.eigvalsh(np.cov(h.T.numpy(), bias=True))
    assert along.numpy() == pytest.approx(exact, rel=1e-2, abs=0.05)


def test_the_gene_side_stays_in_float32_where_nets_are_in_bfloat16():
    models = [build(), build()]
    for enabled, model in enumerate(models):
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(enabled)):
            for epoch in (0, 500):  # before and at an update
                model.loss(batch(), Progress(epoch, 1000, step=1000 * epoch))["loss"].backward()
    plain, narrow = models
    assert torch.equal(plain.weights.shares, narrow.weights.shares)
    with torch.no_grad():
        assert torch.allclose(plain.weights(plain._own_kernels()), narrow.weights(narrow._own_kernels()), atol=1e-5)
    assert plain.information.squares_running_mean.dtype == narrow.information.squares_running_mean.dtype


# --- gene panels ------------------------------------------------------------------------------------------------------


def test_what_a_panel_lacks_says_nothing():
    """Counts off the panel change neither loss nor embedding; rates of measured genes share out their library."""
    measured = torch.ones(CELLS, GENES, dtype=torch.bool)
    measured[:6, 8:] = False
    model = build()
    kept = COUNTS * measured
    found, other = batch(kept, measured=measured), batch(kept + 3 * ~measured, measured=measured)
    other.library_size = found.library_size
    assert loss_of(model, found)["loss"] == pytest.approx(loss_of(model, other)["loss"], rel=1e-5)
    with torch.no_grad():
        rates = model.reconstruct(found)
    assert (rates * measured).sum(1).numpy() == pytest.approx(kept.sum(1).clamp_min(1).numpy(), rel=1e-4)
    assert bool((rates[:6, 8:] > 0).all())


def test_genes_of_a_panel_are_informed_by_the_cells_that_were_measured():
    information = GeneInformation(GENES, 4, 3)
    measured = torch.ones(CELLS, GENES, dtype=torch.bool)
    measured[:6, 8:] = False

    class Panels:
        def batches(self, split: str | None) -> list[Batch]:
            return [batch(COUNTS, measured=measured)]

    information.count(Panels(), build().conditions)
    assert information.gene_measured[7:9].tolist() == [1.0, 0.5]
    assert information.gene_counts.numpy() == pytest.approx((COUNTS * measured).mean(0).numpy())
    model = build()
    model.initialise(Panels())
    rates = ((COUNTS * measured).sum(0) + 0.5) / measured.sum(0)
    expected = rates.log() - rates.log().mean()
    assert model.bias.residual.detach()[:, 0].numpy() == pytest.approx(expected.numpy(), abs=1e-5)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_batch_bias_shifts_the_genes_of_its_batch():
    model = build(covariate_layers="first")
    with torch.no_grad():
        before = model.reconstruct(batch()).log()
        model.batch_bias.residual[:, 1] += torch.linspace(-1, 1, GENES)
        shift = model.reconstruct(batch()).log() - before
    others = BATCHES != 1
    assert shift[others].numpy() == pytest.approx(np.zeros((int(others.sum()), GENES)), abs=1e-5)
    centred = shift[~others] - shift[~others].mean(1, keepdim=True)
    assert centred.numpy() == pytest.approx(torch.linspace(-1, 1, GENES).expand(len(centred), -1).numpy(), abs=1e-4)


def test_a_cell_of_an_unknown_batch_gets_the_mean_bias():
    model = build()
    unknown = torch.full((CELLS,), -1)
    with torch.no_grad():
        h = torch.randn(CELLS, 8)
        found = model.logits(h, model.conditions(batch(batches=unknown).covariates))
        each = [model.logits(h, model.conditions(batch(batches=torch.full((CELLS,), b)).covariates)) for b in range(3)]
    assert found.numpy() == pytest.approx(torch.stack(each).mean(0).numpy(), abs=1e-5)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": "none"}, "residual: none leaves no gene weights without gene_priors; expected shared or gene"),
        (
            {"batchwise_encoder_norm": True, "encoder_norm": "layer"},
            "batchwise_encoder_norm is a BatchNorm; found encoder_norm: 'layer'",
        ),
        (
            {"batch_representation": "embedding", "batchwise_encoder_norm": True},
            "embedding does not go with batch_bias: true and batchwise_encoder_norm: true; expected onehot, or false",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError) as error:
        GeneNBSettings(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize("settings", [{"alignment": "mmd", "batchwise_encoder_norm": True}])
def test_settings_that_need_batches(settings: dict[str, Any]):
    message = (
        "batchwise_encoder_norm: true and alignment: mmd: expected at least two batches among the covariates, found"
    )
    with pytest.raises(ValueError, match=message):
        GeneNB(GeneNBSettings(gene_priors=("text", "protein.v2"), **settings), data(0))
    assert build(data(0)).batch_bias is None
