"""Mode scvi: batches, covariates, what is random in training and nowhere else, the warm-up of the KL divergence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from scvi_cells import BATCHES, CELLS, batch, build, data, loss_of

from sclamp.config.scvi import SCVISettings
from sclamp.models.noise import Noise
from sclamp.models.scvi import SCVI
from sclamp.types import Progress

# --- batches and covariates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("representation", ["onehot", "embedding"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch"])
def test_a_cell_of_an_unknown_batch_is_read_as_an_equal_part_of_every_batch(representation: str, dispersion: str):
    model = build(batch_representation=representation, dispersion=dispersion, encoder_covariates=True)
    unknown = batch(batches=torch.full((CELLS,), -1))
    even = unknown.covariates.clone()
    even[:, 2:5] = 1 / 3
    with torch.no_grad():
        one, two = model.reconstruct(unknown), model.reconstruct(replace(unknown, covariates=even))
    assert torch.isfinite(one).all()
    assert one.numpy() == pytest.approx(two.numpy(), rel=1e-6)
    assert loss_of(model, unknown) == pytest.approx(loss_of(model, replace(unknown, covariates=even)), rel=1e-6)


def test_a_missing_label_gets_the_mean_dispersion():
    model = build(dispersion="gene-label")
    cells = replace(batch(), label=torch.full((CELLS,), -1))
    found = model.decode(torch.zeros(CELLS, 3), model.conditions(cells.covariates), cells).log_theta
    assert found.detach().numpy() == pytest.approx(model.log_theta.detach().mean(0).expand(CELLS, -1).numpy())


@pytest.mark.parametrize(("side", "reads"), [("encoder", False), ("encoder", True), ("decoder", True)])
def test_who_reads_covariates(side: str, reads: bool):
    model, cells = build(encoder_covariates=reads), batch()
    other = replace(cells, covariates=cells.covariates.flip(0))
    with torch.no_grad():
        if side == "encoder":
            same = torch.equal(model.posterior(cells).mean, model.posterior(other).mean)
        else:
            z = torch.zeros(CELLS, 3)
            same = torch.equal(*(model.hidden(z, model.conditions(c.covariates)) for c in (cells, other)))
    assert same != reads


def test_a_linear_covariate_bias_is_concatenation():
    model = build(decoder_norm="none")
    layer, cells = model.decoder.layers[0], batch()
    z, conditions = torch.randn(CELLS, 3), model.conditions(cells.covariates)
    joined = torch.cat([layer.linear.weight, layer.bias[0].weight], 1)
    expected = (torch.cat([z, conditions], 1) @ joined.T + layer.linear.bias).relu()
    assert model.hidden(z, conditions).detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_layers_that_read_covariates():
    depth = {"hidden_dims": (8, 6)}
    first, hidden, every = (build(covariate_layers=layers, **depth) for layers in ("first", "hidden", "all"))
    assert [layer.bias is not None for layer in first.decoder.layers] == [True, False]
    assert [layer.bias is not None for layer in hidden.decoder.layers] == [True, True]
    assert [model.gene_condition is not None for model in (first, hidden, every)] == [False, False, True]
    torch.manual_seed(0)
    fresh = SCVI(SCVISettings(covariate_layers="all"), data())
    assert not fresh.gene_condition[-1].weight.any()  # no covariate shifts a gene before training


# --- noise, dropout, schedule -----------------------------------------------------------------------------------------


def test_input_dropout_hides_genes_in_training_alone():
    """The reference also hides genes from the encoder when a trained model is applied."""
    model, plain = build(input_dropout=0.5, dropout=0.0), build(dropout=0.0)
    with torch.no_grad():
        assert torch.equal(model.embed_cells(batch()), plain.embed_cells(batch()))
        torch.manual_seed(1)
        one, two = (model.train().posterior(batch()).mean for _ in range(2))
    assert not torch.allclose(one, two)


def test_a_sampled_batch_embedding_is_its_mean_wherever_a_model_is_applied():
    """The reference draws it anew, so that predictions differ from call to call."""
    model = build(batch_representation="embedding", batch_embedding_sampled=True, encoder_covariates=True)
    with torch.no_grad():
        for call in (model.embed_cells, model.reconstruct):
            assert torch.equal(call(batch()), call(batch()))
        assert loss_of(model) == loss_of(model)
        noisy = [loss_of(model, batch(noise=Noise(1, step, 0, CELLS))) for step in (0, 1)]
    assert noisy[0] != noisy[1]


def test_kl_of_batch_embeddings_has_its_own_weight_within_the_warmup():
    options = {"batch_representation": "embedding", "kl_warmup_epochs": 10}
    model = build(**options, batch_embedding_kl=0.5)
    with torch.no_grad():
        parts = {epoch: model.loss(batch(), Progress(epoch, 100)) for epoch in (0, 5, 10, 50)}
        mean, log_std = model.conditions.embedding[BATCHES], model.conditions.log_std[BATCHES]
        std = log_std.exp() + 1e-5
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * std.log()).sum(1).mean()
    for epoch, share in ((0, 0.0), (5, 0.5), (10, 1.0), (50, 1.0)):
        found = parts[epoch]
        expected = found["reconstruction"] + share * (found["kl_cells"] + 0.5 * kl)
        assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-6)
        assert float(found["kl_weight"]) == pytest.approx(share)


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"max_epochs": 60}, 10),
        ({"kl_warmup_epochs": 0}, 0),
        ({"kl_warmup_epochs": 7}, 7),
        ({"kl_warmup_steps": 7}, 4),  # two steps an epoch: four cells, and five
        ({"kl_warmup_steps": 0}, 0),
    ],
)
def test_the_warmup_ends_where_checkpoints_begin(settings: dict[str, Any], first: int):
    model = build(**settings)
    assert model.first_checkpoint_epoch() == first
    weights = [
        float(model.loss(batch(), Progress(epoch, 60, step=2 * epoch))["kl_weight"].detach())
        for epoch in (max(first - 1, 0), first)
    ]
    assert weights[1] == 1
    assert weights[0] < 1 or first == 0


def test_the_warmup_goes_on_where_an_interrupted_training_stopped():
    """The reference starts it anew at the first step after a resume; here it follows from the progress alone."""
    model = build(kl_warmup_steps=100)
    model.loss(batch(), Progress(0, 60, step=0))
    resumed = build(kl_warmup_steps=100)
    resumed.load_state_dict(model.state_dict())
    assert float(resumed.loss(batch(), Progress(20, 60, step=40))["kl_weight"].detach()) == pytest.approx(0.4)
