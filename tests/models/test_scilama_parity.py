"""Losses, gradients, fusion and schedule of the sciLaMA family against values computed by the published code.

The golden files hold its weights, inputs, recorded noise and results (see tests/golden/scilama). Tolerances: rtol 1e-5
for float32 values, 1e-4 for float32 gradients, 1e-12 for float64 losses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.config.scilama import PUBLISHED, PUBLISHED_JOINT, BetaVAESettings, JointSettings
from sclamp.models.base import GradientModel
from sclamp.models.posterior import FUSIONS, Gaussian
from sclamp.models.schedules import LinearWarmup
from sclamp.models.scilama import BetaVAE, Direct, StepwiseGenes
from sclamp.types import Batch, Covariates, DataSpec, Progress

GOLDEN = Path(__file__).parents[1] / "golden" / "scilama"
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])

TWO_HIDDEN = {
    "sample_encoder.enc_hidden.0": "cells.encoder.hidden.0.0",
    "sample_encoder.enc_hidden.4": "cells.encoder.hidden.1.0",
    "sample_encoder.latent_mu": "cells.encoder.mean",
    "sample_encoder.latent_sigma": "cells.encoder.log_variance",
    "sample_decoder.dec_hidden.0.0": "cells.decoder.hidden.0.0",
    "sample_decoder.dec_hidden.1": "cells.decoder.factors",
    "feature_decoder.dec_hidden.0.0": "genes.decoder.hidden.0.0",
    "feature_decoder.dec_hidden.1": "genes.decoder.factors",
}
for _m in (0, 1):
    TWO_HIDDEN |= {
        f"feature_encoder.encoders.{_m}.enc_hidden.0": f"genes.encoders.{_m}.hidden.0.0",
        f"feature_encoder.encoders.{_m}.enc_hidden.4": f"genes.encoders.{_m}.hidden.1.0",
        f"feature_encoder.encoders.{_m}.latent_mu": f"genes.encoders.{_m}.mean",
        f"feature_encoder.encoders.{_m}.latent_sigma": f"genes.encoders.{_m}.log_variance",
    }
ONE_HIDDEN = TWO_HIDDEN | {"sample_decoder.dec_hidden": "cells.decoder.factors"}
OUTPUT = {"sample_decoder.output_mean.weight": "loadings", "sample_decoder.output_mean.bias": "cells.bias"}


class RecordedNoise:
    """The draws that the published code made, in place of random ones."""

    def __init__(self, golden: np.lib.npyio.NpzFile) -> None:
        self._cells = torch.from_numpy(golden["eps_sample"])
        self._genes = torch.from_numpy(golden["eps_feature_fused"]) if "eps_feature_fused" in golden else None

    def for_cells(self, like: Tensor) -> Tensor:
        return self._cells.to(like.dtype)

    def for_genes(self, like: Tensor) -> Tensor:
        assert self._genes is not None
        return self._genes.to(like.dtype)


def ours(name: str) -> str:
    """Our name of a parameter of the published code."""
    if name in OUTPUT:
        return OUTPUT[name]
    module, _, kind = name.rpartition(".")
    return f"{ONE_HIDDEN[module]}.{kind}"


def load(file: str) -> np.lib.npyio.NpzFile:
    return np.load(GOLDEN / f"{file}.npz", allow_pickle=False)


def build(cls: type[GradientModel], golden: np.lib.npyio.NpzFile, dtype: torch.dtype, **more: object) -> GradientModel:
    """Our model with the golden weights; beta comes from the `beta` argument."""
    beta = more.pop("beta", 1.0)
    common = (PUBLISHED if cls is BetaVAE else PUBLISHED_JOINT) | {
        "hidden_dims": tuple(int(d) for d in golden["hidden_dims"]),
        "latent_dim": int(golden["latent_dim"]),
        "var_eps": float(golden["var_eps"]),
        "dropout": 0.0,
        "beta_start": beta,
        "beta_end": beta,
    }
    if cls is BetaVAE:
        settings: BetaVAESettings = BetaVAESettings(**common)
    else:
        settings = JointSettings(**common | {"gene_dropout": 0.0}, **more)
    priors = {name: golden[name] for name in ("emb0", "emb1") if name in golden and cls is not BetaVAE}
    data = DataSpec(
        gene_ids=tuple(f"g{i}" for i in range(golden["x"].shape[1])),
        covariates=Covariates(categorical={"batch": ("a", "b")}),
        gene_priors={name: prior.shape[1] for name, prior in priors.items()},
    )
    model = cls(settings, data).to(dtype)
    model.load_gene_priors({name: torch.from_numpy(prior) for name, prior in priors.items()})
    weights = {ours(k[2:]): torch.from_numpy(golden[k]) for k in golden.files if k.startswith("w.")}
    if cls is not BetaVAE:
        del weights["loadings"]  # the joint modes of the published code carry it along unused
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("gene_prior_") for name in missing)
    return model


def batch_of(golden: np.lib.npyio.NpzFile, dtype: torch.dtype) -> Batch:
    x, c = torch.from_numpy(golden["x"]).to(dtype), torch.from_numpy(golden["c"]).to(dtype)
    rows = torch.arange(len(x))
    return Batch(rows, c, rows, x.sum(1), scaled=x, noise=RecordedNoise(golden))  # type: ignore[arg-type]


def close(actual: Tensor, expected: np.ndarray, rtol: float) -> None:
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


CASES = {
    "beta_vae": (BetaVAE, {}),
    "beta_vae_one_hidden": (BetaVAE, {}),
    "direct_one_modality": (Direct, {"fusion": "average"}),
    "direct_average": (Direct, {"fusion": "average"}),
    "direct_moe": (Direct, {"fusion": "precision_weighted"}),
    "direct_poe": (Direct, {"fusion": "precision_weighted"}),
    "stepwise_phase2_feature_only": (StepwiseGenes, {"mode": "stepwise_genes", "fusion": "average"}),
}


@pytest.mark.parametrize("file", CASES)
def test_loss_and_its_parts(file: str) -> None:
    cls, more = CASES[file]
    golden = load(file)
    values = [k.split("beta")[1].removesuffix(".loss") for k in golden.files if k.startswith("train_") and "loss" in k]
    assert values
    for beta in values:
        model = build(cls, golden, torch.float32, beta=float(beta), **more)
        parts = model.loss(batch_of(golden, torch.float32), Progress(0, 1))
        latent = 0.05 * parts["latent_reconstruction"] if "latent_reconstruction" in parts else 0.0
        kl = sum((parts[k] for k in ("kl_cells", "kl_genes") if k in parts), torch.zeros(()))
        if cls is StepwiseGenes:
            kl = parts["kl_genes"]
        close(parts["loss"], golden[f"train_beta{beta}.loss"], 1e-5)
        close(parts["reconstruction"] + latent, golden[f"train_beta{beta}.mse"], 1e-5)
        close(kl, golden[f"train_beta{beta}.kld"], 1e-5)


@pytest.mark.parametrize("file", CASES)
def test_loss_in_float64(file: str) -> None:
    cls, more = CASES[file]
    golden = load(file)
    model = build(cls, golden, torch.float64, beta=float(golden["f64_beta"]), **more)
    loss = model.loss(batch_of(golden, torch.float64), Progress(0, 1))["loss"]
    np.testing.assert_allclose(loss.item(), golden["f64_loss"], rtol=1e-12)


@DTYPES
@pytest.mark.parametrize("file", CASES)
def test_gradients(file: str, dtype: torch.dtype) -> None:
    cls, more = CASES[file]
    golden = load(file)
    model = build(cls, golden, dtype, beta=1.0, **more)
    model.loss(batch_of(golden, dtype), Progress(0, 1))["loss"].backward()
    actual = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    prefix = "grad.beta1.0."
    expected = {ours(k.removeprefix(prefix)): golden[k] for k in golden.files if k.startswith(prefix)}
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        close(actual[name], gradient, 1e-4)


@pytest.mark.parametrize("file", [f for f in CASES if f.startswith("direct")])
def test_intermediate_tensors_of_the_joint_model(file: str) -> None:
    cls, more = CASES[file]
    golden = load(file)
    model = build(cls, golden, torch.float32, **more)
    assert isinstance(model, Direct)
    batch = batch_of(golden, torch.float32)
    close(model.embed_cells(batch), golden["out.mu_s"], 1e-5)
    close(model.embed_genes(), golden["out.mu_f"], 1e-5)
    close(model.genes.decoder(torch.from_numpy(golden["out.z_f"])), golden["out.f_dec_h"], 1e-5)
    close(
        model.cells.factors(torch.from_numpy(golden["out.z_s"]), batch.covariates)
        @ torch.from_numpy(golden["out.f_dec_h"]).T
        + model.cells.bias,
        golden["out.x_prime"],
        1e-5,
    )


@pytest.mark.parametrize(
    "ours_, theirs", [("average", "average"), ("precision_weighted", "MoE"), ("precision_weighted", "PoE")]
)
def test_fusion(ours_: str, theirs: str) -> None:
    golden = load("fusion")
    experts = [
        Gaussian(torch.from_numpy(m), torch.from_numpy(s)) for m, s in zip(golden["mu"], golden["sigma"], strict=True)
    ]
    fused = FUSIONS[ours_](experts)
    assert isinstance(fused, Gaussian)
    close(fused.mean, golden[f"{theirs}_mu"], 1e-5)
    close(fused.std, golden[f"{theirs}_sigma"], 1e-5)


@pytest.mark.parametrize("case", ["default", "b02_08", "warm0", "rate0"])
def test_beta_schedule(case: str) -> None:
    golden = load("beta_schedule")
    start, end, hold, rate = golden[f"params_{case}"]
    schedule = LinearWarmup(float(start), float(end), int(hold), float(rate))
    actual = [schedule.at(int(epoch)) for epoch in golden["epochs"]]
    np.testing.assert_allclose(actual, golden[f"beta_{case}"], atol=1e-12)


def test_first_checkpoint_epoch_of_the_published_defaults() -> None:
    assert LinearWarmup(0.0, 1.0, 25, 0.05).first_full_epoch() == 45
    assert LinearWarmup(0.0, 1.0, 25, 0.0).first_full_epoch() == 0
