"""What the sciLaMA family promises beyond the published code: posteriors, phases, priors, schedules, messages."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from sclamp.config.scilama import BetaVAESettings, JointSettings
from sclamp.models.blocks import activation_class
from sclamp.models.losses import kl_to_standard_normal, squared_error
from sclamp.models.noise import Noise
from sclamp.models.posterior import FUSIONS, Gaussian, Mixture
from sclamp.models.scilama import BetaVAE, Direct, Stepwise, StepwiseGenes
from sclamp.types import Batch, Covariates, DataSpec, Progress

N_CELLS, N_GENES, WIDTH = 40, 15, 6
SMALL = {"hidden_dims": (12, 8), "latent_dim": 4}
JOINT_MODES = {"direct": Direct, "stepwise_genes": StepwiseGenes, "stepwise": Stepwise}


@pytest.fixture
def priors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "text": torch.randn(N_GENES, WIDTH, generator=generator) + 3,
        "protein": torch.randn(N_GENES, 5, generator=generator),
    }


@pytest.fixture
def data(priors: dict[str, Tensor]) -> DataSpec:
    return DataSpec(
        gene_ids=tuple(f"g{i}" for i in range(N_GENES)),
        covariates=Covariates(categorical={"batch": ("a", "b")}),
        gene_priors={name: prior.shape[1] for name, prior in priors.items()},
        n_cells=N_CELLS,
    )


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    rows = torch.arange(N_CELLS)
    x = torch.randn(N_CELLS, N_GENES, generator=generator)
    covariates = torch.nn.functional.one_hot(rows % 2, 2).float()
    return Batch(rows, covariates, rows % 2, torch.ones(N_CELLS), scaled=x)


def joint(mode: str, data: DataSpec, priors: dict[str, Tensor], **more: object) -> Direct:
    torch.manual_seed(0)
    model = JOINT_MODES[mode](JointSettings(mode=mode, **(SMALL | more)), data)
    model.load_gene_priors(priors)
    return model


def with_noise(batch: Batch, step: int) -> Batch:
    return Batch(**(vars(batch) | {"noise": Noise(0, step, 0, len(batch))}))


def train(model: torch.nn.Module, batch: Batch, steps: int, epoch: int = 10_000) -> None:
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    model.train()
    for step in range(steps):
        optimiser.zero_grad()
        model.loss(with_noise(batch, step), Progress(epoch, 10_001))["loss"].backward()
        optimiser.step()
    model.eval()


def validation_loss(model: Direct | BetaVAE, batch: Batch, epoch: int = 0) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        return {k: float(v) for k, v in model.loss(batch, Progress(epoch, 10, validation=True)).items()}


# --- loss terms and posteriors, against torch.distributions ---


def test_kl_to_standard_normal_is_that_of_torch_distributions() -> None:
    mean, std = torch.randn(7, 3, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64) + 0.1
    expected = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, std), expected)


def test_squared_error_sums_over_genes_only() -> None:
    prediction, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 3.0]])
    assert squared_error(prediction, target).tolist() == [5.0, 9.0]


def experts(m: int = 3, n: int = 5, k: int = 2) -> list[Gaussian]:
    generator = torch.Generator().manual_seed(3)
    return [
        Gaussian(
            torch.randn(n, k, generator=generator, dtype=torch.float64),
            torch.rand(n, k, generator=generator, dtype=torch.float64) + 0.2,
        )
        for _ in range(m)
    ]


def test_product_of_experts_is_proportional_to_the_product_of_densities_and_prior() -> None:
    members = experts()
    fused = FUSIONS["poe"](members)
    points = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1)
    product = Normal(0.0, 1.0).log_prob(points) + sum(Normal(e.mean, e.std).log_prob(points) for e in members)
    ratio = product - Normal(fused.mean, fused.std).log_prob(points)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_product_of_experts_of_one_vague_expert_returns_to_the_prior() -> None:
    fused = FUSIONS["poe"]([Gaussian(torch.full((2, 3), 5.0), torch.full((2, 3), 1e4))])
    torch.testing.assert_close(fused.mean, torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(fused.std, torch.ones(2, 3))


def reference_mixture(mixture: Mixture) -> MixtureSameFamily:
    components = Independent(Normal(mixture.means.transpose(0, 1), mixture.stds.transpose(0, 1)), 1)
    return MixtureSameFamily(Categorical(probs=mixture.weights.T), components)


def test_mixture_of_experts_samples_the_mixture() -> None:
    mixture = FUSIONS["moe"](experts(n=2))
    oracle = reference_mixture(mixture)
    torch.testing.assert_close(mixture.mean, oracle.mean)
    samples = torch.stack([mixture.sample(Noise(0, step, 0, 2).for_genes) for step in range(20_000)])
    torch.testing.assert_close(samples.mean(0), oracle.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(samples.var(0), oracle.variance, atol=0.06, rtol=0)


def test_mixture_of_experts_trusts_the_precise_expert() -> None:
    sure, unsure = Gaussian(torch.ones(1, 2), torch.full((1, 2), 0.1)), Gaussian(-torch.ones(1, 2), torch.ones(1, 2))
    weights = FUSIONS["moe"]([sure, unsure]).weights
    torch.testing.assert_close(weights[:, 0], torch.tensor([100 / 101, 1 / 101]))


def test_kl_of_the_mixture_is_an_upper_bound() -> None:
    mixture = FUSIONS["moe"](experts())
    oracle = reference_mixture(mixture)
    torch.manual_seed(0)
    samples = oracle.sample((20_000,))
    exact = (oracle.log_prob(samples) - Normal(0.0, 1.0).log_prob(samples).sum(-1)).mean(0)
    assert (mixture.kl() >= exact).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_of_equal_experts_keeps_their_mean_direction_and_is_finite(fusion: str) -> None:
    expert = experts(m=1)[0]
    fused = FUSIONS[fusion]([expert, expert])
    assert (torch.sign(fused.mean) == torch.sign(expert.mean)).all()
    assert torch.isfinite(fused.kl()).all()


# --- all modes ---


@pytest.mark.parametrize("fusion", FUSIONS)
def test_loss_without_noise_is_deterministic_and_finite(
    fusion: str, data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> None:
    model = joint("direct", data, priors, fusion=fusion)
    first, second = validation_loss(model, batch), validation_loss(model, batch)
    assert first == second
    assert all(torch.isfinite(torch.tensor(v)) for v in first.values())


def test_validation_uses_the_final_beta_in_every_epoch(data: DataSpec, batch: Batch) -> None:
    model = BetaVAE(BetaVAESettings(**SMALL, beta_start=0.0, beta_end=0.7), data)
    assert validation_loss(model, batch, epoch=0)["beta"] == pytest.approx(0.7)
    assert float(model.loss(batch, Progress(0, 10))["beta"]) == 0.0


def test_checkpoints_count_from_the_first_epoch_with_the_final_beta(data: DataSpec) -> None:
    settings = BetaVAESettings(**SMALL, beta_start=0.0, beta_end=1.0, epochs_before_beta_warmup=3, beta_warmup_rate=0.3)
    model = BetaVAE(settings, data)
    first = model.first_checkpoint_epoch()
    assert [model.schedule.at(first - 1) < 1.0, model.schedule.at(first)] == [True, 1.0]


def test_reconstruction_in_the_loss_is_that_of_reconstruct(
    data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> None:
    for model in (BetaVAE(BetaVAESettings(**SMALL), data), joint("direct", data, priors, gene_residual=1.0)):
        model.eval()
        with torch.no_grad():
            expected = ((model.reconstruct(batch) - batch.scaled) ** 2).sum(1).mean()
        assert validation_loss(model, batch)["reconstruction"] == pytest.approx(float(expected), rel=1e-5)


def test_gamma_zero_leaves_the_latents_product_out(data: DataSpec, priors: dict[str, Tensor], batch: Batch) -> None:
    assert "latent_reconstruction" not in validation_loss(joint("direct", data, priors, gamma=0.0), batch)
    assert "latent_reconstruction" in validation_loss(joint("direct", data, priors, gamma=0.1), batch)


def test_permuted_genes_give_the_same_model(data: DataSpec, priors: dict[str, Tensor], batch: Batch) -> None:
    order = torch.randperm(N_GENES, generator=torch.Generator().manual_seed(5))
    model = joint("direct", data, priors)
    permuted_data = DataSpec(**(vars(data) | {"gene_ids": tuple(data.gene_ids[i] for i in order)}))
    permuted = joint("direct", permuted_data, {name: prior[order] for name, prior in priors.items()})
    state = dict(model.state_dict())
    for name, axis in model.gene_axes().items():
        genes_first = torch.cat([order, torch.arange(N_GENES, state[name].shape[axis])])
        state[name] = state[name].index_select(axis, genes_first)
    permuted.load_state_dict({k: v for k, v in state.items() if not k.startswith("gene_prior_")}, strict=False)
    permuted_batch = Batch(**(vars(batch) | {"scaled": batch.scaled[:, order]}))
    model.eval(), permuted.eval()
    torch.testing.assert_close(permuted.embed_genes(), model.embed_genes()[order])
    expected, actual = validation_loss(model, batch), validation_loss(permuted, permuted_batch)
    assert actual == pytest.approx(expected, rel=1e-5)


# --- gene priors ---


def test_standardised_priors_ignore_shift_and_scale(data: DataSpec, priors: dict[str, Tensor]) -> None:
    moved = {name: 7 * prior + 2 for name, prior in priors.items()}
    one, other = (joint("direct", data, p, prior_scaling="standardised").eval().embed_genes() for p in (priors, moved))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_joint_mode_without_gene_prior_says_so() -> None:
    data = DataSpec(gene_ids=("a", "b"))
    with pytest.raises(ValueError, match="gene_priors: mode 'direct' needs at least one gene prior, found none"):
        Direct(JointSettings(mode="direct", **SMALL), data)


# --- covariates ---


def test_a_shift_of_one_batch_is_learned_as_its_effect_and_leaves_the_embedding(data: DataSpec, batch: Batch) -> None:
    shift = torch.linspace(-1, 1, N_GENES)
    moved = Batch(**(vars(batch) | {"scaled": batch.scaled + batch.covariates[:, 1:] * shift}))
    settings = BetaVAESettings(**SMALL, encoder_covariates=False, covariate_effects=True, beta_end=5.0)
    torch.manual_seed(0)
    model = BetaVAE(settings, data)
    train(model, moved, 300)
    with torch.no_grad():
        learned = model.cells.offset(torch.tensor([[0.0, 1.0]])) - model.cells.offset(torch.tensor([[1.0, 0.0]]))
        means = [moved.scaled[batch.batch == b].mean(0) for b in (0, 1)]
        assert torch.corrcoef(torch.stack([learned[0], means[1] - means[0]]))[0, 1] > 0.95
        # The same cell in either batch: its expression differs by the effect alone, its embedding not at all.
        as_second = Batch(**(vars(moved) | {"covariates": moved.covariates.flip(1)}))
        as_second.scaled = moved.scaled + (as_second.covariates - moved.covariates)[:, 1:] * learned
        torch.testing.assert_close(model.embed_cells(as_second), model.embed_cells(moved), atol=1e-4, rtol=1e-4)


def test_an_unseen_batch_has_no_effect(data: DataSpec, batch: Batch) -> None:
    model = BetaVAE(BetaVAESettings(**SMALL, covariate_effects=True), data)
    torch.nn.init.normal_(model.cells.effects)
    offset = model.cells.offset(torch.zeros(3, 2))
    torch.testing.assert_close(offset, model.cells.bias.expand(3, -1))


# --- residual loadings ---


def test_residual_loadings_are_penalised_per_training_cell(
    data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> None:
    losses = {}
    for weight in (0.0, 2.0):
        model = joint("direct", data, priors, gene_residual=weight)
        torch.nn.init.constant_(model.residual, 0.5)
        losses[weight] = validation_loss(model, batch)["loss"]
    penalty = 2.0 * N_GENES * SMALL["hidden_dims"][0] * 0.25 / N_CELLS
    assert losses[2.0] - losses[0.0] == pytest.approx(penalty, rel=1e-4)


def test_without_residual_equal_priors_give_equal_loadings(
    data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> None:
    twins = {name: prior.index_copy(0, torch.tensor([1]), prior[:1]) for name, prior in priors.items()}
    for residual, equal in ((None, True), (0.0, False)):
        model = joint("direct", data, twins, gene_residual=residual, covariate_effects=False)
        train(model, batch, 20)
        with torch.no_grad():
            x = model.reconstruct(batch) - model.cells.bias
        assert torch.allclose(x[:, 0], x[:, 1], atol=1e-5) is equal


# --- the three phases ---


@pytest.fixture(params=[None, 1.0], ids=["no residual", "residual"])
def phases(
    request: pytest.FixtureRequest, data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> tuple[BetaVAE, StepwiseGenes, Stepwise]:
    torch.manual_seed(0)
    first = BetaVAE(BetaVAESettings(**SMALL), data)
    train(first, batch, 60)
    second = joint("stepwise_genes", data, priors, gene_residual=request.param)
    second.warm_start(first.state_dict())
    train(second, batch, 60)
    third = joint("stepwise", data, priors, gene_residual=request.param)
    third.warm_start(second.state_dict())
    return first, second, third


def test_phase_two_leaves_the_cell_side_as_it_was(phases: tuple[BetaVAE, StepwiseGenes, Stepwise]) -> None:
    first, second, _ = phases
    before, after = first.cells.state_dict(), second.cells.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert second.train().cells.training is False


def test_phase_three_starts_where_phase_two_ended(
    phases: tuple[BetaVAE, StepwiseGenes, Stepwise], batch: Batch
) -> None:
    _, second, third = phases
    ended, starts = validation_loss(second, batch), validation_loss(third, batch)
    assert starts["reconstruction"] == pytest.approx(ended["reconstruction"], rel=1e-6)
    assert starts["kl_genes"] == pytest.approx(ended["kl_genes"], rel=1e-6)
    assert float(third.loss(batch, Progress(0, 10))["beta"]) == third.settings.beta_end
    assert third.first_checkpoint_epoch() == 0


def test_with_residuals_phase_two_starts_where_phase_one_ended(
    data: DataSpec, priors: dict[str, Tensor], batch: Batch
) -> None:
    first = BetaVAE(BetaVAESettings(**SMALL), data)
    train(first, batch, 60)
    second = joint("stepwise_genes", data, priors, gene_residual=1.0)
    second.warm_start(first.state_dict())
    ended, starts = validation_loss(first, batch), validation_loss(second, batch)
    assert starts["reconstruction"] == pytest.approx(ended["reconstruction"], rel=1e-4)


def test_warm_start_from_another_architecture_names_what_is_missing(data: DataSpec, priors: dict[str, Tensor]) -> None:
    other = BetaVAE(BetaVAESettings(hidden_dims=(10, 8), latent_dim=4), data)
    with pytest.raises(ValueError, match=r"lacks \d+ of the \d+ parameters that must continue \(cells\."):
        joint("stepwise_genes", data, priors).warm_start(other.state_dict())
    with pytest.raises(ValueError, match=r"same genes, covariates and layer sizes"):
        joint("stepwise", data, priors).warm_start(other.state_dict())


# --- activation ---


def test_unknown_activation_names_key_value_and_nearest() -> None:
    with pytest.raises(ValueError, match=r"activation: 'LeakyRelu2' is not .* the nearest is 'LeakyReLU'"):
        activation_class("LeakyRelu2")


@pytest.mark.parametrize("name", ["ReLU", "GELU", "SiLU", "Tanh"])
def test_known_activation(name: str) -> None:
    assert activation_class(name) is getattr(torch.nn, name)
