"""Losses, gradients, statistics, rates and schedule of mode scvi against values computed by Cellarium ML 0.0.15.

The golden files hold its weights, inputs, recorded noise and results. Tolerances: rtol 3e-4 for reconstruction losses
(float32 log-gammas there), 1e-4 for other float32 values, 1e-3 for gradient norms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.config.scvi import SCVISettings
from sclamp.data.batches import entries_of
from sclamp.models.scvi import SCVI
from sclamp.types import Batch, Covariates, DataSpec, Progress

GOLDEN = Path(__file__).parents[1] / "golden" / "cellarium"
CASES = {
    "nb_gene": {},
    "poisson": {"likelihood": "poisson"},
    "nb_gene_cell": {"dispersion": "gene-cell"},
    "nb_covariates": {},
    "batch_embedding_sampled": {
        "batch_representation": "embedding", "batch_embedding_dim": 2, "batch_embedding_sampled": True,
        "batch_embedding_kl": 0.5,
    },
}  # fmt: skip
NAMES = {
    "z_encoder.fully_connected.module_list.0.layer": "encoder.net.layers.0.linear",
    "z_encoder.fully_connected.module_list.0.dressing.0": "encoder.net.layers.0.norm",
    "z_encoder.mean_encoder": "encoder.mean",
    "z_encoder.var_encoder": "encoder.log_variance",
    "decoder.fully_connected.module_list.0.layer.bias_decoder.module_list.0": "decoder.layers.0.bias.0",
    "decoder.fully_connected.module_list.0.layer": "decoder.layers.0.linear",
    "decoder.fully_connected.module_list.0.dressing.0": "decoder.layers.0.norm",
    "decoder.inverse_overdispersion_decoder": "theta_head",
    "decoder.normalized_count_decoder.bias_decoder.module_list.0": "gene_condition.0",
}
WHOLE = {
    "decoder.normalized_count_decoder.weight": "gene_weight",
    "decoder.normalized_count_decoder.bias": "gene_bias",
    "px_r": "log_theta",
    "batch_representation_mean_bd": "conditions.embedding",
    "batch_representation_std_unconstrained_bd": "conditions.log_std",
}


def ours(name: str) -> str:
    """Our name of one of the reference's parameters."""
    if name in WHOLE:
        return WHOLE[name]
    start, _, last = name.rpartition(".")
    return f"{NAMES[start]}.{last}"


def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of one golden file."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as golden:
        return dict(golden)


class RecordedNoise:
    """The draws that the reference made, one after another."""

    def __init__(self, golden: Any) -> None:
        self._draws = [torch.from_numpy(golden[name]) for name in ("eps0", "eps1") if name in golden]

    def for_cells(self, like: Tensor) -> Tensor:
        return self._draws.pop(0).to(like.dtype)


class Case:
    def __init__(self, name: str) -> None:
        self.golden = golden = read(f"scvi_{name}")
        sizes = [int(golden["n_batch"]), *golden.get("n_cats_per_cov", np.zeros(0, int)).tolist()]
        codes = [golden["batch_index"], *golden.get("categorical_covariates", np.zeros((10, 0), int)).T]
        covariates = np.concatenate([np.eye(n)[code] for n, code in zip(sizes, codes, strict=True)], 1)
        categories = {f"c{i}": tuple(map(str, range(n))) for i, n in enumerate(sizes)}
        counts = torch.from_numpy(golden["counts"])
        genes = tuple(f"g{i}" for i in range(counts.shape[1]))
        data = DataSpec(genes, covariates=Covariates(categorical=categories), batch_columns=(0, sizes[0]), n_cells=10)
        settings = SCVISettings(
            hidden_dims=(12,), latent_dim=5, dropout=0.0, covariate_layers="all", kl_warmup_epochs=400, **CASES[name]
        )
        self.model = SCVI(settings, data)
        own = self.model.state_dict()
        state = {ours(n[2:]): torch.from_numpy(golden[n]) for n in golden if n.startswith("w.")}
        if "log_theta" in state:
            state["log_theta"] = state["log_theta"].reshape(1, -1)
        kept = {key: value for key, value in state.items() if key in own}
        assert set(kept) == set(own)
        self.model.load_state_dict(kept)
        self.batch = Batch(
            rows=torch.arange(10), covariates=torch.from_numpy(covariates).float(),
            batch=torch.from_numpy(golden["batch_index"]), library_size=counts.sum(1), log_counts=counts.log1p(),
            entries=entries_of(counts),
        )  # fmt: skip

    def with_noise(self) -> Batch:
        self.batch.noise = RecordedNoise(self.golden)  # type: ignore[assignment]
        return self.batch


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize("epoch", [0, 200, 400])
def test_losses(case: Case, phase: str, epoch: int):
    case.model.train(phase == "train")
    with torch.no_grad():
        parts = case.model.loss(case.with_noise(), Progress(epoch, 1000))
    golden = {name: case.golden[f"{phase}.{name}"] for name in ("reconstruction_loss", "kl_z")}
    assert float(parts["loss"]) == pytest.approx(float(case.golden[f"{phase}.loss_epoch{epoch}"]), rel=1e-4)
    assert float(parts["reconstruction"]) == pytest.approx(golden["reconstruction_loss"].mean(), rel=3e-4)
    assert float(parts["kl_cells"]) == pytest.approx(golden["kl_z"].mean(), rel=1e-4)
    if "kl_batch" in parts:
        assert float(parts["kl_batch"]) == pytest.approx(case.golden[f"{phase}.kl_batch"].mean(), rel=1e-4)


def test_gradients_and_batchnorm_statistics(case: Case):
    case.model.train()
    case.model.loss(case.with_noise(), Progress(400, 1000))["loss"].backward()
    parameters, checked = dict(case.model.named_parameters()), 0
    for name in case.golden:
        if name.startswith("train.gradnorm."):
            gradient = parameters[ours(name.removeprefix("train.gradnorm."))].grad
            size = 0.0 if gradient is None else float(gradient.norm())  # of a bias before BatchNorm: rounding, there
            assert size == pytest.approx(float(case.golden[name]), rel=1e-3, abs=3e-6)
            checked += 1
    assert checked == len(parameters)
    for name in [n for n in case.golden if n.startswith("train.after.")]:
        found = case.model.state_dict()[ours(name.removeprefix("train.after."))]
        assert found.numpy() == pytest.approx(case.golden[name], rel=1e-4, abs=1e-6)


def test_posterior_rates_and_dispersion(case: Case):
    model, batch = case.model.eval(), case.batch
    with torch.no_grad():
        q = model.posterior(batch)
        decoded = model.decode(q.mean, model.conditions(batch.covariates), batch)
        rates, predicted = model.reconstruct(batch), model.embed_cells(batch)
    golden = case.golden
    assert q.mean.numpy() == pytest.approx(golden["eval.qz_mean"], rel=1e-4, abs=1e-5)
    assert q.std.numpy() == pytest.approx(golden["eval.qz_std"], rel=1e-4)
    assert rates.numpy() == pytest.approx(golden["eval.px_rate_at_qz_mean"], rel=1e-4)
    if decoded.log_theta is not None:
        theta = decoded.log_theta.detach().exp().expand(10, -1)
        assert theta.numpy() == pytest.approx(golden["eval.px_theta"], rel=1e-4)
    if "eval.predict" in golden:
        assert predicted.numpy() == pytest.approx(golden["eval.predict"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", ["nb_gene", "poisson", "nb_gene_cell"], indirect=True)
@pytest.mark.parametrize("target", [None, 0, 1])
def test_reconstruction_in_another_batch(case: Case, target: int | None):
    covariates = case.batch.covariates
    if target is not None:
        covariates = torch.eye(3)[torch.full((10,), target)]
    with torch.no_grad():
        found = case.model.eval().reconstruct_as(case.batch, covariates)
    shares = found / case.model.library(case.batch).unsqueeze(1)
    golden = case.golden[f"eval.reconstruct_latent_mean_transform_batch_{target}"]
    assert 1e4 * shares.numpy() == pytest.approx(golden, rel=1e-4)


@pytest.mark.parametrize(
    ("column", "unit", "settings"),
    [
        ("weight_warmup400_start0", "epochs", {"kl_warmup_epochs": 400}),
        ("weight_warmup50_start02", "epochs", {"kl_warmup_epochs": 50, "kl_start": 0.2}),
        ("weight_steps100_start0", "steps", {"kl_warmup_steps": 100}),
    ],
)
def test_annealing(column: str, unit: str, settings: dict[str, Any]):
    golden = read("scvi_kl_annealing")
    model = SCVI(SCVISettings(hidden_dims=(2,), latent_dim=2, **settings), DataSpec(("a", "b"), n_cells=10))
    counts = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    batch = Batch(
        torch.arange(2), torch.zeros(2, 0), torch.zeros(2).long(), counts.sum(1), log_counts=counts.log1p(),
        entries=entries_of(counts),
    )  # fmt: skip
    with torch.no_grad():
        moments = [Progress(int(n), 10_000) if unit == "epochs" else Progress(0, 9, step=int(n)) for n in golden[unit]]
        found = [float(model.loss(batch, moment)["kl_weight"]) for moment in moments]
    assert found == pytest.approx(golden[column], abs=1e-6)
