"""Options of mode scvi, each against what it must mean; the defects of the reference, each against its absence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sclamp.config.scvi import SCVISettings
from sclamp.data.batches import entries_of
from sclamp.models.likelihoods import dense_log_prob
from sclamp.models.noise import Noise
from sclamp.models.posterior import Gaussian
from sclamp.models.scvi import SCVI
from sclamp.train.adamw import AdamW
from sclamp.types import Batch, Covariates, DataSpec, Progress

GENES, CELLS = 12, 9
RNG = np.random.default_rng(1)
COUNTS = torch.from_numpy(RNG.poisson(1.5, (CELLS, GENES))).float()
BATCHES = torch.arange(CELLS) % 3
DEPTH = torch.from_numpy(RNG.normal(size=(CELLS, 1))).float()
"""A continuous covariate, encoded before and after the batch's columns: nothing may depend on where these lie."""
VALIDATION, LAST = Progress(0, 10, validation=True), Progress(999, 1000)


def data(priors: dict[str, int] | None = None, batches: int = 3) -> DataSpec:
    categories = tuple(f"b{i}" for i in range(batches))
    categorical = {"kind": ("u", "v"), **({"batch": categories} if batches else {})}
    return DataSpec(
        tuple(f"g{i}" for i in range(GENES)), categories, ("T", "B"), Covariates(categorical, {"depth": (0.0, 1.0)}),
        gene_priors=priors or {}, n_cells=CELLS, batch_columns=(2, 2 + batches) if batches else (0, 0),
    )  # fmt: skip


def batch(counts: Tensor = COUNTS, batches: Tensor = BATCHES, **more: Any) -> Batch:
    """Cells whose covariates are kind, batch, depth; batch -1 is unknown."""
    n = len(counts)
    kind = torch.eye(2)[torch.arange(n) % 2]
    one_hot = torch.where((batches >= 0).unsqueeze(1), torch.eye(3)[batches.clamp_min(0)], 0.0)
    covariates = torch.cat([kind, one_hot, DEPTH[:n]], 1)
    return Batch(
        torch.arange(n), covariates, batches, counts.sum(1) + 5, log_counts=counts.log1p(),
        entries=entries_of(counts), label=torch.arange(n) % 2, **more,
    )  # fmt: skip


def build(seed: int = 0, spec: DataSpec | None = None, **settings: Any) -> SCVI:
    torch.manual_seed(seed)
    model = SCVI(SCVISettings(**{"hidden_dims": (8,), "latent_dim": 3, "batch_size": 4, **settings}), spec or data())
    with torch.no_grad():
        for parameter in model.parameters():  # away from special values such as zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def loss_of(model: SCVI, cells: Batch | None = None, progress: Progress = VALIDATION) -> float:
    with torch.no_grad():
        return float(model.loss(cells or batch(), progress)["loss"])


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
            empty = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
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
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


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
