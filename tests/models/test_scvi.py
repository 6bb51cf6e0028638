"""Mode scvi: every variant trains, likelihoods are what they must be, impossible settings are told."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scvi_cells import BATCHES, CELLS, COUNTS, GENES, LAST, RNG, batch, build, data, loss_of

from sclamp.config.scvi import SCVISettings
from sclamp.models.likelihoods import dense_log_prob
from sclamp.models.noise import Noise
from sclamp.models.scvi import SCVI
from sclamp.train.adamw import AdamW
from sclamp.types import DataSpec

VARIANTS: list[dict[str, Any]] = [
    {"likelihood": "zinb"},
    {"likelihood": "poisson"},
    {"dispersion": "gene-batch"},
    {"dispersion": "gene-label"},
    {"dispersion": "gene-cell"},
    {"likelihood": "zinb", "dispersion": "gene-cell", "link": "softplus"},
    {"latent": "ln"},
    {"link": "softplus", "library": "cell"},
    {"batch_representation": "embedding", "batch_embedding_dim": 2},
    {"batch_representation": "embedding", "batch_embedding_sampled": True, "batch_embedding_kl": 0.1},
    {"encoder_covariates": True, "covariate_bias_dims": (4,)},
    {"covariate_layers": "first", "hidden_dims": (8, 6)},
    {"encoder_norm": "layer", "decoder_norm": "none", "dropout": 0.0, "activation": "GELU"},
    {"prior": "flow", "flow_transforms": 1, "flow_hidden_dims": (8,)},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_variant_trains_each_parameter_and_is_deterministic_without_noise(settings: dict[str, Any]):
    model, cells = build(**settings), batch()
    assert loss_of(model) == loss_of(model)
    cells.noise = Noise(3, 0, 0, CELLS)
    losses, optimiser = [], AdamW(list(model.parameters()), 0.02, 0.0)
    model.train()
    for step in range(30):
        optimiser.clear_gradients()
        cells.noise = Noise(3, 0, 0, CELLS)
        loss = model.loss(cells, LAST)["loss"]
        loss.backward()
        if step == 0:
            trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
            empty = [n for n, p in trained if p.grad is None or not p.grad.any()]
            assert empty == []
        optimiser.step(skip=torch.zeros(()))
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    sampled = settings.get("batch_embedding_sampled", False)
    model.eval()
    with torch.no_grad():
        assert torch.isfinite(model.reconstruct(batch())).all()
        cells.noise = Noise(4, 0, 0, CELLS)
        noisy = model.conditions(cells.covariates, cells.noise.for_cells)
    assert torch.equal(noisy, model.conditions(cells.covariates)) != sampled


def test_settings_change_the_model():
    """No setting may be without effect: each gives another loss than the defaults, from the same random numbers."""
    plain = loss_of(build())
    for settings in VARIANTS:
        assert loss_of(build(**settings)) != plain, settings
    for settings in ({"var_eps": 0.5}, {"kl_weight": 0.3}):
        assert loss_of(build(**settings)) != plain, settings


# --- likelihood -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch", "gene-label", "gene-cell"])
@pytest.mark.parametrize("masked", [False, True])
def test_log_likelihood_is_that_of_the_decoded_parameters(likelihood: str, dispersion: str, masked: bool):
    """Mean counts share out the library among the measured genes; each dispersion is looked up where it belongs."""
    if likelihood == "poisson" and dispersion != "gene":
        return
    model = build(likelihood=likelihood, dispersion=dispersion)
    measured = torch.from_numpy(RNG.random((CELLS, GENES)) < 0.7) if masked else None
    cells = batch(COUNTS if measured is None else COUNTS * measured, measured=measured)
    everywhere = torch.ones(CELLS, GENES).bool() if measured is None else measured
    with torch.no_grad():
        conditions = model.conditions(cells.covariates)
        z = model.posterior(cells).mean
        decoded = model.decode(z, conditions, cells)
        found = model.log_likelihood(cells, z, conditions)
    shares = decoded.logits.exp() * everywhere
    library = (COUNTS * everywhere).sum(1, keepdim=True)
    log_mean = (library * decoded.logits.exp() / shares.sum(1, keepdim=True)).log()
    theta = None
    if likelihood != "poisson":
        rows = {"gene": torch.zeros(CELLS).long(), "gene-batch": BATCHES, "gene-label": torch.arange(CELLS) % 2}
        theta = decoded.log_theta if dispersion == "gene-cell" else model.log_theta.detach()[rows[dispersion]]
    expected = dense_log_prob(likelihood, COUNTS, log_mean, theta, decoded.dropout, everywhere)
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-5)


def test_expected_counts_sum_to_the_library_and_zeros_take_their_share():
    for library, sizes in (("genes", COUNTS.sum(1)), ("cell", COUNTS.sum(1) + 5)):
        with torch.no_grad():
            found = build(library=library).reconstruct(batch())
        assert found.sum(1).numpy() == pytest.approx(sizes.numpy(), rel=1e-5)
    model = build(likelihood="zinb")
    with torch.no_grad():
        cells = batch()
        decoded = model.decode(model.posterior(cells).mean, model.conditions(cells.covariates), cells)
        expected = COUNTS.sum(1, keepdim=True) * decoded.logits.softmax(1) * (1 - decoded.dropout.sigmoid())
        assert model.reconstruct(cells).numpy() == pytest.approx(expected.numpy(), rel=1e-5)


def test_softplus_makes_each_gene_by_itself_times_the_library_per_gene():
    model, cells = build(link="softplus"), batch()
    logits = torch.tensor([[-40.0, -3.0, 0.0, 60.0]])
    found = model.log_means(logits, torch.tensor([24.0]).log())
    exact = np.log(np.log1p(np.exp(logits.double().numpy()))) + np.log(24 / GENES)
    assert found.numpy() == pytest.approx(exact, abs=1e-5)
    with torch.no_grad():
        assert torch.isfinite(model.loss(cells, LAST)["loss"])


def test_a_cell_without_counts_has_a_library_of_one_and_a_finite_loss_above_zero():
    """The reference takes the logarithm of a library of zero; such a cell then costs nothing, silently."""
    empty = torch.zeros(2, GENES)
    cells = replace(batch(empty, torch.tensor([0, 1])), library_size=torch.zeros(2))
    for link in ("softmax", "softplus"):
        model = build(link=link)
        with torch.no_grad():
            q = model.posterior(cells)
            found = -model.log_likelihood(cells, q.mean, model.conditions(cells.covariates))
            counts = model.reconstruct(cells)
        assert model.library(cells).tolist() == [1, 1]
        assert torch.isfinite(found).all()
        assert float(found.min()) > 0.1
        assert torch.isfinite(counts).all()
        assert float(counts.sum(1).min()) > 0.1
        loss = model.train().loss(cells, LAST)["loss"]
        loss.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_unmeasured_genes_say_nothing():
    """Whatever stands at genes off the panel, neither the posterior nor the likelihood sees it; they are predicted."""
    model = build()
    measured = torch.ones(CELLS, GENES).bool()
    measured[:, :4] = False
    cells = batch(COUNTS * measured, measured=measured)
    other = batch(torch.where(measured, COUNTS, 7.0), measured=measured)
    with torch.no_grad():
        assert loss_of(model, cells) == pytest.approx(loss_of(model, other), rel=1e-6)
        counts = model.reconstruct(cells)
    assert loss_of(model, cells) != pytest.approx(loss_of(model, batch(COUNTS * measured)), rel=1e-3)
    assert float(counts[:, :4].min()) > 0
    assert counts[:, 4:].sum(1).numpy() == pytest.approx((COUNTS * measured).sum(1).numpy(), rel=1e-5)


# --- settings and data that do not go together ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_warmup_epochs": 3, "kl_warmup_steps": 4}, "kl_warmup_epochs (3) and kl_warmup_steps (4) are both given"),
        ({"batch_embedding_sampled": True}, "expected batch_representation: embedding with them, found onehot"),
        ({"batch_embedding_kl": 0.1}, "expected batch_representation: embedding with them, found onehot"),
        ({"likelihood": "poisson", "dispersion": "gene-cell"}, "'gene-cell' has no meaning for likelihood 'poisson'"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=re.escape(message)):
        SCVISettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_representation": "embedding"}, "'embedding' needs the batch among the covariates; it is not"),
        ({"dispersion": "gene-batch"}, "'gene-batch' needs the batch among the covariates, and the data have none"),
        ({"dispersion": "gene-label"}, "'gene-label' needs labels, and the data have none"),
        ({"activation": "Relu"}, "'Relu' is not an activation of torch.nn; the nearest is 'ReLU'"),
    ],
)
def test_settings_that_the_data_cannot_serve(settings: dict[str, Any], message: str):
    bare = replace(data(batches=0), labels=())
    with pytest.raises(ValueError, match=re.escape(message)):
        SCVI(SCVISettings(**settings), bare)


def test_without_any_covariate():
    spec = DataSpec(tuple(f"g{i}" for i in range(GENES)), n_cells=CELLS)
    cells = replace(batch(), covariates=torch.zeros(CELLS, 0))
    assert np.isfinite(loss_of(build(spec=spec, covariate_layers="all"), cells))
