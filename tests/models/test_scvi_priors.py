"""Mode scvi: latents and their prior, precision, gene priors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scvi_cells import CELLS, GENES, LAST, VALIDATION, batch, build, data, loss_of

from sclamp.config.scvi import SCVISettings
from sclamp.models.posterior import Gaussian
from sclamp.models.scvi import SCVI

# --- latents and their prior ------------------------------------------------------------------------------------------


def test_logistic_normal_latents_are_shares():
    model, cells = build(latent="ln"), batch()
    with torch.no_grad():
        embedding, q = model.embed_cells(cells), model.posterior(cells)
    assert embedding.sum(1).numpy() == pytest.approx(np.ones(CELLS), rel=1e-6)
    assert embedding.numpy() == pytest.approx(q.mean.softmax(1).numpy())
    assert float(model.loss(cells, VALIDATION)["kl_cells"].detach()) == pytest.approx(float(q.kl().mean()), rel=1e-6)


def test_a_flow_is_a_density_and_its_kl_is_that_of_many_samples():
    model = build(latent_dim=1, prior="flow")
    grid = torch.linspace(-12, 12, 20_001).unsqueeze(1)
    with torch.no_grad():
        assert float(torch.trapezoid(model.log_prior(grid).exp(), grid[:, 0])) == pytest.approx(1, abs=3e-3)
        q = model.posterior(batch())
        q = Gaussian(q.mean[:3], q.std[:3])
        many = Gaussian(*(x.expand(4000, -1, -1).flatten(0, 1) for x in (q.mean, q.std)))
        z = many.mean + many.std * torch.randn(many.mean.shape, generator=torch.Generator().manual_seed(2))
        log_q = torch.distributions.Normal(many.mean, many.std).log_prob(z).sum(-1)
        expected = (log_q - model.log_prior(z)).view(4000, 3).mean(0)
        sampled, fixed = model.flow.kl(many, z).view(4000, 3).mean(0), model.flow.kl(q, None)
    assert sampled.numpy() == pytest.approx(expected.numpy(), abs=0.05)
    assert fixed.numpy() == pytest.approx(expected.numpy(), rel=0.1)


@pytest.mark.parametrize("settings", [{}, {"likelihood": "zinb", "dispersion": "gene-cell"}, {"prior": "flow"}])
def test_bfloat16_reaches_matrix_products_alone(settings: dict[str, Any]):
    model = build(**settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(batch(), LAST)["loss"]
        loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(loss_of(build(**settings), progress=LAST), rel=0.03)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


# --- gene priors ------------------------------------------------------------------------------------------------------


def with_prior(role: str, seed: int = 0, **settings: Any) -> SCVI:
    model = build(seed, data({"text": 5}), prior_role=role, **settings)
    model.load_gene_priors({"text": torch.randn(GENES, 5, generator=torch.Generator().manual_seed(3)) * 3 + 1})
    return model


def test_a_gene_adds_its_own_weights_to_those_of_its_prior_at_a_price():
    model = with_prior("decoder", gene_residual=4.0)
    assert model.gene_weights().detach().numpy() == pytest.approx(
        (model.gene_prior("text") @ model.prior_map + model.residual).detach().numpy(), abs=1e-6
    )
    with torch.no_grad():
        parts = model.loss(batch(), VALIDATION)
        price = 4 * float(model.residual.square().sum()) / CELLS
    assert price > 0.01
    assert float(parts["residual"]) == pytest.approx(price, rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(float(parts["reconstruction"] + parts["kl_cells"]) + price, rel=1e-5)
    torch.manual_seed(0)
    fresh = SCVI(SCVISettings(gene_priors=("text",)), data({"text": 5}))
    assert not fresh.residual.any()
    assert with_prior("decoder_init").residual is None


def test_weights_tied_to_a_prior_are_a_linear_map_of_it():
    model = with_prior("decoder", gene_residual=None)
    weights, prior = model.gene_weights().detach(), model.gene_prior("text")
    assert "gene_weight" not in model.state_dict()
    assert weights.numpy() == pytest.approx((prior @ model.prior_map.detach()).numpy())
    assert prior.mean(0).numpy() == pytest.approx(np.zeros(5), abs=1e-6)
    assert float(prior.square().mean()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("role", ["decoder_init", "encoder_init"])
def test_initial_weights_follow_the_prior_and_then_are_free(role: str):
    torch.manual_seed(0)
    model = SCVI(SCVISettings(hidden_dims=(8,), latent_dim=3, prior_role=role), data({"text": 5}))
    of = {
        "decoder_init": lambda: model.gene_weight,
        "encoder_init": lambda: model.encoder.net.layers[0].linear.weight.T,
    }
    before = of[role]().detach().clone()
    model.load_gene_priors({"text": torch.randn(GENES, 5)})
    after, prior = of[role]().detach(), model.gene_prior("text")
    fitted = prior @ torch.linalg.lstsq(prior, after).solution
    assert after.numpy() == pytest.approx(fitted.numpy(), abs=1e-5)
    assert float(after.square().mean()) == pytest.approx(float(before.square().mean()), rel=1e-4)
    assert of[role]().requires_grad
    assert model.predict_genes(batch(), {"text": torch.randn(2, 5)}) is None
    other = {"decoder_init": "encoder_init", "encoder_init": "decoder_init"}[role]
    assert torch.linalg.matrix_rank(of[other]().detach()) > 5  # the other side is as random as ever


@pytest.mark.parametrize("settings", [{}, {"likelihood": "zinb"}, {"link": "softplus"}, {"covariate_layers": "first"}])
def test_new_genes_are_predicted_on_the_scale_of_the_known(settings: dict[str, Any]):
    model, cells = with_prior("decoder", **settings), batch()
    with torch.no_grad():
        model.gene_bias.fill_(0.3)
        model.residual.zero_()
        if model.gene_condition is not None:
            model.gene_condition[-1].weight.zero_()
        if model.dropout_head is not None:
            model.dropout_head.weight.zero_()
            model.dropout_head.bias.fill_(-0.7)
        vectors = model.gene_prior("text") * model.get_buffer("gene_prior__scale_text")
        vectors = vectors + model.get_buffer("gene_prior__center_text")
        known, found = model.reconstruct(cells), model.predict_genes(cells, {"text": vectors[:5]})
    assert found.numpy() == pytest.approx(known[:, :5].numpy(), rel=1e-4)


def test_the_control_without_a_prior_is_the_same_mode_with_free_weights():
    from sclamp.workflow import plan

    scvi = {"mode": "scvi", "gene_priors": ["text"], "prior_controls": ["none", "shuffled"], "latent_dim": 4}
    config = {
        "datasets": {"tiny": {"path": "tiny.h5ad", "label": "kind", "batch": "batch"}},
        "gene_priors": {"text": {"source": "file", "path": "text.parquet"}},
        "models": {"tied": scvi, "plain": {"mode": "scvi", "latent_dim": 5}},
    }
    planned = plan(config)
    controls = {control.control: control.model for control in planned.prior_controls}
    assert controls == {"none": "tied.prior=none", "shuffled": "tied.prior=shuffled"}
    assert planned.models["tied.prior=none"].gene_priors == ()
    assert planned.models["tied.prior=none"].settings.latent_dim == 4
    assert planned.models["tied.prior=shuffled"].gene_priors == ("text.shuffled",)
    config["models"]["plain"] = {"mode": "scvi", "latent_dim": 4}  # now a control that the user trains anyway
    assert {c.control: c.model for c in plan(config).prior_controls}["none"] == "plain"


@pytest.mark.parametrize("settings", [{}, {"latent": "ln"}])
def test_genes_are_embedded_by_how_their_logits_follow_the_latents(settings: dict[str, Any]):
    model = build(**settings, covariate_layers="all")
    even = torch.zeros(20_000, 6)
    even[:, 2:5] = 1 / 3
    z = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        conditions = model.conditions(even)
        logits = model.logits(model.hidden(z, conditions), conditions)
        expected = torch.linalg.lstsq(z - z.mean(0), logits - logits.mean(0)).solution.T
        found = model.embed_genes()
    assert found.shape == (GENES, 3)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=0.05 * float(expected.abs().max()))
