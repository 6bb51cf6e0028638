"""Mode scvi against scvi-tools on the same weights and the same noise; skipped where that is not installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sclamp.config.scvi import SCVISettings
from sclamp.data.batches import entries_of
from sclamp.models.scvi import SCVI
from sclamp.types import Batch, Covariates, DataSpec, Progress

pytest.importorskip("scvi", reason="scvi-tools does not ship with the workflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # of scvi-tools and what it imports

GENES, CELLS, BATCHES, LATENT, HIDDEN = 14, 11, 3, 4, 8
RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.negative_binomial(2, 0.3, (CELLS, GENES))).float()
BATCH, LABEL = torch.arange(CELLS) % BATCHES, torch.arange(CELLS) % 2
CATEGORY, DEPTH = torch.arange(CELLS) % 2, torch.from_numpy(RNG.normal(size=(CELLS, 1))).float()
NOISE = torch.from_numpy(RNG.normal(size=(CELLS, LATENT))).float()

NETWORK = {"hidden_dims": (HIDDEN,), "latent_dim": LATENT, "dropout": 0.0, "covariate_layers": "hidden"}
CASES: list[dict[str, Any]] = [
    {},
    {"likelihood": "zinb"},
    {"likelihood": "poisson"},
    {"dispersion": "gene-batch"},
    {"dispersion": "gene-label"},
    {"dispersion": "gene-cell", "likelihood": "zinb"},
    {"latent": "ln"},
    {"encoder_covariates": True},  # with further layers theirs reads continuous covariates in the first alone
    {"encoder_norm": "layer", "decoder_norm": "layer"},
    {"encoder_norm": "none", "decoder_norm": "batch", "covariate_layers": "first", "hidden_dims": (HIDDEN, HIDDEN)},
]


class Recorded:
    """The same draw for both."""

    def for_cells(self, like: torch.Tensor) -> torch.Tensor:
        return NOISE


def build(settings: dict[str, Any]) -> tuple[SCVI, Any]:
    """The same model twice: ours with its random weights, theirs with a copy of these."""
    from scvi.module import VAE

    chosen = SCVISettings(**{**NETWORK, **settings})
    covariates = Covariates({"batch": ("a", "b", "c"), "kind": ("u", "v")}, {"depth": (0.0, 1.0)})
    data = DataSpec(
        tuple(map(str, range(GENES))), ("a", "b", "c"), ("T", "B"), covariates, n_cells=CELLS, batch_columns=(0, 3)
    )
    torch.manual_seed(1)
    model = SCVI(chosen, data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    norms = (chosen.encoder_norm, chosen.decoder_norm)
    uses = {kind: tuple(norm == kind for norm in norms) for kind in ("batch", "layer")}
    named = {(True, True): "both", (True, False): "encoder", (False, True): "decoder", (False, False): "none"}
    theirs = VAE(
        GENES, n_batch=BATCHES, n_labels=2, n_hidden=HIDDEN, n_latent=LATENT, n_layers=len(chosen.hidden_dims),
        n_continuous_cov=1, n_cats_per_cov=[2], dropout_rate=0.0, dispersion=chosen.dispersion,
        gene_likelihood=chosen.likelihood, latent_distribution=chosen.latent,
        encode_covariates=chosen.encoder_covariates,
        deeply_inject_covariates=chosen.covariate_layers != "first", use_batch_norm=named[uses["batch"]],
        use_layer_norm=named[uses["layer"]],
    )  # fmt: skip
    copy_weights(model, theirs)
    return model, theirs


def copy_weights(model: SCVI, theirs: Any) -> None:
    """Put our weights where theirs are; their covariates come after the inputs: continuous, batch, categories."""
    order = [5, 0, 1, 2, 3, 4]  # of our covariates: batch, kind, depth

    def layers(net: Any, target: Any) -> None:
        for layer, block in zip(net.layers, target.fc_layers, strict=True):
            weight = layer.linear.weight
            if layer.bias is not None:
                weight = torch.cat([weight, layer.bias[0].weight[:, order]], 1)
            block[0].weight.copy_(weight)
            block[0].bias.copy_(layer.linear.bias)
            if isinstance(layer.norm, torch.nn.BatchNorm1d):
                block[1].load_state_dict(layer.norm.state_dict())

    def same(ours: Any, target: Any) -> None:
        target.weight.copy_(ours.weight)
        target.bias.copy_(ours.bias)

    with torch.no_grad():
        layers(model.encoder.net, theirs.z_encoder.encoder)
        same(model.encoder.mean, theirs.z_encoder.mean_encoder)
        same(model.encoder.log_variance, theirs.z_encoder.var_encoder)
        layers(model.decoder, theirs.decoder.px_decoder)
        theirs.decoder.px_scale_decoder[0].weight.copy_(model.gene_weights())
        theirs.decoder.px_scale_decoder[0].bias.copy_(model.gene_bias)
        if model.dropout_head is not None:
            same(model.dropout_head, theirs.decoder.px_dropout_decoder)
        if model.theta_head is not None:
            same(model.theta_head, theirs.decoder.px_r_decoder)
        elif model.log_theta is not None:
            theirs.px_r.copy_(model.log_theta.T if len(model.log_theta) > 1 else model.log_theta[0])


def our_batch() -> Batch:
    covariates = torch.cat([torch.eye(BATCHES)[BATCH], torch.eye(2)[CATEGORY], DEPTH], 1)
    return Batch(
        torch.arange(CELLS), covariates, BATCH, COUNTS.sum(1), log_counts=COUNTS.log1p(), entries=entries_of(COUNTS),
        label=LABEL, noise=Recorded(),  # type: ignore[arg-type]
    )  # fmt: skip


def their_results(theirs: Any) -> dict[str, Any]:
    """Posterior, parameters of the counts' distribution and loss, with z drawn by the shared noise."""
    from scvi import REGISTRY_KEYS as KEYS

    tensors = {
        KEYS.X_KEY: COUNTS, KEYS.BATCH_KEY: BATCH.unsqueeze(1), KEYS.LABELS_KEY: LABEL.unsqueeze(1),
        KEYS.CAT_COVS_KEY: CATEGORY.unsqueeze(1), KEYS.CONT_COVS_KEY: DEPTH,
    }  # fmt: skip
    inference = theirs.inference(**theirs._get_inference_input(tensors))
    qz = inference["qz"]
    inference["z"] = theirs.z_encoder.z_transformation(qz.loc + qz.scale * NOISE)
    generative = theirs.generative(**theirs._get_generative_input(tensors, inference))
    loss = theirs.loss(tensors, inference, generative, kl_weight=0.5)
    return {"qz": qz, "z": inference["z"], "px": generative["px"], "loss": loss}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(map(str, settings.values())) or "plain")
def test_same_weights_and_noise_give_the_same_numbers_and_gradients(settings: dict[str, Any], training: bool):
    model, theirs = build({"kl_warmup_epochs": 10, **settings})
    model.train(training)
    theirs.train(training)
    batch = our_batch()
    parts = model.loss(batch, Progress(5, 100))
    expected = their_results(theirs)
    loss = expected["loss"]
    assert float(parts["loss"].detach()) == pytest.approx(float(loss.loss.detach()), rel=1e-5)
    rec, kl = (sum(values.values()) for values in (loss.reconstruction_loss, loss.kl_local))
    assert float(parts["reconstruction"].detach()) == pytest.approx(float(rec.detach().mean()), rel=1e-5)
    assert float(parts["kl_cells"].detach()) == pytest.approx(float(kl.detach().mean()), rel=1e-5)
    parts["loss"].backward()
    loss.loss.backward()
    ours = model.encoder.net.layers[0].linear.weight.grad
    reference = theirs.z_encoder.encoder.fc_layers[0][0].weight.grad[:, :GENES]
    assert ours.numpy() == pytest.approx(reference.numpy(), rel=1e-3, abs=1e-4)
    assert model.gene_weight.grad.numpy() == pytest.approx(
        theirs.decoder.px_scale_decoder[0].weight.grad.numpy(), rel=1e-3, abs=1e-4
    )


@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(map(str, settings.values())) or "plain")
def test_same_posterior_and_decoder(settings: dict[str, Any]):
    model, theirs = build(settings)
    model.eval()
    theirs.eval()
    batch = our_batch()
    with torch.no_grad():
        expected = their_results(theirs)
        conditions = model.conditions(batch.covariates)
        q = model.posterior(batch)
        z = q.sample(lambda like: NOISE)
        decoded = model.decode(z, conditions, batch)
        means = model.log_means(decoded.logits, model.library(batch).log()).exp()
    assert q.mean.numpy() == pytest.approx(expected["qz"].loc.numpy(), rel=1e-4, abs=1e-5)
    assert q.std.numpy() == pytest.approx(expected["qz"].scale.numpy(), rel=1e-4)
    assert model.latents(z).numpy() == pytest.approx(expected["z"].numpy(), rel=1e-4, abs=1e-5)
    px = expected["px"]
    if model.settings.likelihood == "poisson":
        assert means.numpy() == pytest.approx(px.rate.numpy(), rel=1e-4)
        return
    assert means.numpy() == pytest.approx(px.mu.numpy(), rel=1e-4)
    theta = decoded.log_theta.detach().exp().expand(CELLS, -1)
    assert theta.numpy() == pytest.approx(px.theta.detach().expand(CELLS, -1).numpy(), rel=1e-4)
    if decoded.dropout is not None:
        assert decoded.dropout.numpy() == pytest.approx(px.zi_logits.numpy(), rel=1e-4, abs=1e-5)
