"""What every registered mode must do. A new mode is tested by being registered; nothing here names one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from sclamp.config.registry import MODES, model_class, settings_class
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_gene_priors, read_inputs
from sclamp.models.base import ClosedFormModel, GradientModel, Model, prior_buffer
from sclamp.models.noise import Noise, seed_default_generator
from sclamp.train.checkpoint import load_model, save_model, start_from
from sclamp.types import Batch, DataSpec, Progress, Want

CPU = torch.device("cpu")
MODES_TO_TEST = tuple(MODES)
GRADIENT = tuple(name for name, mode in MODES.items() if mode.gradient)
CLOSED_FORM = tuple(name for name, mode in MODES.items() if not mode.gradient)
JOINT = tuple(name for name in GRADIENT if "gene_priors" in settings_class(name).model_fields)
TERMS = {"alpha": "CL:0000171", "beta": "CL:0000169", "delta": "CL:0000173"}
SMALL = {
    "latent_dim": 4, "hidden_dims": (16,), "max_epochs": 3, "batch_size": 16, "device": "cpu", "label_terms": TERMS,
}  # fmt: skip
EPOCHS = 1000
"""Long enough that every schedule has ended by the last epoch."""


@dataclass
class Case:
    """A model with its data."""

    model: Model
    batches: Batches
    data: DataSpec

    def batch(self, rows: Any = None, seed: int | None = None) -> Batch:
        rows = self.batches.inputs.rows("train")[:24] if rows is None else np.asarray(rows)
        batch = next(iter(self.batches.of([rows])))
        if seed is not None:
            batch.noise = Noise(seed, 0, 0, len(batch), CPU)
        return batch

    def validation_loss(self) -> float:
        with torch.no_grad():
            return float(self.model.loss(self.batch(), VALIDATION)["loss"])

    def cells(self) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([self.model.embed_cells(batch) for batch in self.batches.batches(None)])


def small_settings(mode: str, prior_names: tuple[str, ...] = ("text.v2", "protein")) -> Any:
    known = settings_class(mode)
    values: dict[str, Any] = {name: value for name, value in SMALL.items() if name in known.model_fields}
    if "gene_priors" in known.model_fields and MODES[mode].own_prior is None:
        values["gene_priors"] = prior_names
    return known(mode=mode, **values)


@pytest.fixture
def build(tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path]) -> Callable[..., Case]:
    """Factory of a mode's case. order: permutation of the file's genes. seed: of the initialisation."""

    def make(mode: str, order: Any = None, seed: int = 0, fit: bool = True) -> Case:
        path = tiny_counts(order=order, name="counts.h5ad")
        settings = small_settings(mode)
        own = MODES[mode].own_prior
        names = (own,) if own else getattr(settings, "gene_priors", ())
        genes = [f"G{i:04d}" for i in range(60)]
        priors = read_gene_priors({name: tiny_prior(genes, width=5 + i, name=name) for i, name in enumerate(names)})
        data = describe(path, priors)
        seed_default_generator("cpu", "initialise", seed)
        model: Model = model_class(mode)(settings, data)
        where = {gene: i for i, gene in enumerate(genes)}
        aligned = [where[gene] for gene in data.gene_ids]
        model.load_gene_priors({name: torch.from_numpy(matrix[aligned]) for name, (_, matrix) in priors.items()})
        batches = Batches(read_inputs(path, data), model.wants(), CPU)
        if isinstance(model, ClosedFormModel) and fit:
            model.fit(batches)
        return Case(model.eval(), batches, data)

    return make


@pytest.fixture(params=MODES_TO_TEST)
def case(request: pytest.FixtureRequest, build: Callable[..., Case]) -> Iterator[Case]:
    yield build(request.param)


LAST = Progress(EPOCHS - 1, EPOCHS)
VALIDATION = Progress(0, EPOCHS, validation=True)


# --- models trained by gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", GRADIENT)
def test_loss_is_finite_and_every_parameter_gets_a_gradient(build: Callable[..., Case], mode: str):
    case = build(mode)
    model = case.model.train()
    parts = model.loss(case.batch(seed=1), LAST)
    assert all(value.ndim == 0 and torch.isfinite(value) for value in parts.values())
    parts["loss"].backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("mode", GRADIENT)
def test_validation_loss_is_deterministic_and_training_loss_follows_its_noise(build: Callable[..., Case], mode: str):
    case = build(mode)
    model = case.model
    with torch.no_grad():
        once, again = ({n: float(v) for n, v in model.loss(case.batch(), VALIDATION).items()} for _ in range(2))
        plain = float(model.loss(case.batch(), LAST)["loss"])
        drawn = [float(model.loss(case.batch(seed=seed), LAST)["loss"]) for seed in (1, 1, 2)]
    assert once == again
    assert drawn[0] == drawn[1]
    if drawn[0] != plain:  # the model draws noise
        assert drawn[0] != drawn[2]


@pytest.mark.parametrize("mode", GRADIENT)
def test_loss_is_a_mean_over_cells(build: Callable[..., Case], mode: str):
    case = build(mode)
    if case.model.loss_needs_whole_batch:
        pytest.skip("the loss of a cell depends on the other cells of the batch, and the model says so")
    rows = case.batches.inputs.rows("train")[:24]
    with torch.no_grad():
        whole = case.model.loss(case.batch(rows), VALIDATION)["loss"]
        first, second = (case.model.loss(case.batch(part), VALIDATION)["loss"] for part in (rows[:6], rows[6:]))
    assert float(whole) == pytest.approx(float(first * 6 + second * 18) / 24, rel=1e-5)


@pytest.mark.parametrize("mode", GRADIENT)
def test_training_lowers_the_loss(build: Callable[..., Case], mode: str):
    model = (case := build(mode)).model.train()
    batch, losses = case.batch(), []
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        loss = model.loss(batch, LAST)["loss"]
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.98 * np.mean(losses[:5])


@pytest.mark.parametrize("mode", GRADIENT)
def test_checkpoints_are_allowed_from_some_epoch_on(build: Callable[..., Case], mode: str):
    assert 0 <= build(mode).model.first_checkpoint_epoch() < EPOCHS


@pytest.mark.parametrize("mode", [mode for mode in GRADIENT if MODES[mode].after])
def test_chains_of_warm_starts(build: Callable[..., Case], tmp_path: Path, mode: str):
    before = build(MODES[mode].after[-1], seed=1)
    case = build(mode, seed=2)
    path = tmp_path / "before.pt"
    save_model(path, before.model, before.batches.statistics, {})
    taken = start_from(case.model, path)
    own, source = case.model.state_dict(), before.model.state_dict()
    assert taken
    assert all(torch.equal(own[name], source[name]) for name in taken)
    assert torch.equal(case.cells(), before.cells())


# --- all models -------------------------------------------------------------------------------------------------------


def test_shapes_and_types(case: Case):
    cells, genes = case.cells(), case.model.embed_genes()
    latent = getattr(case.model.settings, "latent_dim", cells.shape[1])
    assert cells.shape == (120, latent)
    assert cells.dtype == torch.float32
    assert torch.isfinite(cells).all()
    assert genes is None or (genes.shape == (60, latent) and bool(torch.isfinite(genes).all()))
    x = case.model.reconstruct(case.batch())
    assert x is None or (x.shape == (24, 60) and bool(torch.isfinite(x).all()))
    assert case.model.wants() <= set(get_args(Want))


def test_embedding_depends_on_the_cell_alone(case: Case):
    whole = case.cells()
    assert torch.equal(whole, case.cells())
    assert float(whole.std(0).min()) > 0
    for rows in ([7], [3, 99, 7], np.arange(119, -1, -1)):
        with torch.no_grad():
            part = case.model.embed_cells(case.batch(rows))
        assert part.numpy() == pytest.approx(whole[rows].numpy(), abs=1e-5)


def test_save_and_load_give_the_same_embedding(case: Case, tmp_path: Path):
    save_model(tmp_path / "model.pt", case.model, case.batches.statistics, {"seed": 1})
    loaded, statistics, _ = load_model(tmp_path / "model.pt")
    assert type(loaded) is type(case.model)
    assert loaded.data == case.data
    assert loaded.settings == case.model.settings
    assert torch.equal(statistics.mean, case.batches.statistics.mean)
    assert torch.equal(replace(case, model=loaded).cells(), case.cells())
    before, after = case.model.embed_genes(), loaded.embed_genes()
    assert (before is None) == (after is None)
    assert before is None or torch.equal(before, after)


def test_state_is_made_of_tensors_of_fixed_priors_and_of_what_is_learned(case: Case):
    state, learned = set(case.model.state_dict()), set(case.model.learned_state())
    fixed = {name for name in state - learned if not name.startswith("gene_prior__")}  # how the priors are scaled
    assert fixed == {prior_buffer(name) for name in case.data.gene_priors}


def test_cells_reconstructed_as_they_are_and_as_of_another_batch(case: Case):
    """Other covariates change the decoding alone: back under their own, every cell is reconstructed as before."""
    batch = case.batch()
    with torch.no_grad():
        plain, own = case.model.reconstruct(batch), case.model.reconstruct_as(batch, batch.covariates)
        swapped = case.model.reconstruct_as(batch, batch.covariates.flip(1))
    assert (plain is None) == (own is None) == (swapped is None)
    if plain is not None:
        assert torch.equal(plain, own)
        assert swapped.shape == plain.shape
        other = replace(batch, covariates=batch.covariates.flip(1))
        if isinstance(case.model, GradientModel) and reads_covariates(case.model, batch, other):
            assert not torch.allclose(swapped, plain)


def reads_covariates(model: GradientModel, batch: Batch, other: Batch) -> bool:
    with torch.no_grad():
        return not torch.equal(*(model.loss(each, VALIDATION)["loss"] for each in (batch, other)))


def test_a_new_gene_with_the_prior_of_a_known_one_is_predicted_like_it(case: Case, tmp_path: Path):
    """Predicted genes follow the vectors they are given, in any order; models that cannot say so by None."""
    files = read_gene_priors({name: tmp_path / f"{name}.parquet" for name in case.data.gene_priors})
    priors = {name: torch.from_numpy(matrix.copy()) for name, (_, matrix) in files.items()}
    batch = case.batch()
    with torch.no_grad():
        if not priors:
            assert case.model.predict_genes(batch, {}) is None
            return
        found = case.model.predict_genes(batch, priors)
        turned = case.model.predict_genes(batch, {name: prior.flip(0)[:7] for name, prior in priors.items()})
        known = case.model.reconstruct(batch)
    assert turned.numpy() == pytest.approx(found.flip(1)[:, :7].numpy(), abs=1e-5)
    # Nothing is trained yet: residual loadings, offsets and effects are zero, and the prior says all that there is.
    assert found.numpy() == pytest.approx(known.numpy(), abs=1e-4)
    for name, prior in priors.items():
        assert case.model.scale_gene_prior(name, prior).numpy() == pytest.approx(case.model.gene_prior(name).numpy())


def test_gene_axes_name_what_follows_the_genes(build: Callable[..., Case], case: Case):
    sizes = {name: tuple(value.shape) for name, value in case.model.state_dict().items()}
    for name, axis in case.model.gene_axes().items():
        assert sizes[name][axis] >= 60
    if isinstance(case.model, GradientModel):
        following = {name for name, shape in sizes.items() if any(size >= 60 for size in shape)}
        assert following - {prior_buffer(name) for name in case.data.gene_priors} == set(case.model.gene_axes())


@pytest.mark.parametrize("mode", MODES_TO_TEST)
def test_the_order_of_genes_changes_nothing(build: Callable[..., Case], tmp_path: Path, mode: str):
    """Data and gene priors permuted alike, from the same checkpoint: the same loss and cells, genes permuted."""
    order = np.random.default_rng(4).permutation(60)
    plain, permuted = build(mode, seed=1), build(mode, order=order, seed=2)
    assert permuted.data.gene_ids == tuple(plain.data.gene_ids[i] for i in order)
    if isinstance(plain.model, GradientModel):
        save_model(tmp_path / "model.pt", plain.model, plain.batches.statistics, {})
        taken = start_from_same_mode(permuted.model, tmp_path / "model.pt")
        assert set(taken) == set(plain.model.learned_state())
        losses = [each.validation_loss() for each in (plain, permuted)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    a, b = plain.cells(), permuted.cells()
    signs = torch.sign((a * b).sum(0)) if isinstance(plain.model, ClosedFormModel) else torch.ones(a.shape[1])
    assert (b * signs).numpy() == pytest.approx(a.numpy(), abs=1e-3 * float(a.abs().max()))
    genes = plain.model.embed_genes()
    if genes is not None:
        theirs = permuted.model.embed_genes() * signs
        assert theirs.detach().numpy() == pytest.approx(genes[order].detach().numpy(), abs=1e-3)


def start_from_same_mode(model: Model, path: Path) -> list[str]:
    """Take over all parameters by gene id, also where the mode itself asks for another source."""
    original = type(model).warm_start
    try:
        type(model).warm_start = GradientModel.warm_start
        return start_from(model, path)
    finally:
        type(model).warm_start = original


@pytest.mark.parametrize("mode", JOINT)
def test_shuffled_priors_change_the_loss(build: Callable[..., Case], mode: str):
    """The counterpart of the test above: it could not pass by ignoring the priors."""
    case = build(mode)
    before = case.validation_loss()
    for name in case.data.gene_priors:
        case.model.gene_prior(name).copy_(case.model.gene_prior(name).roll(1, 0))
    assert case.validation_loss() != pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("mode", [mode for mode in JOINT if MODES[mode].without_prior != mode])
def test_a_joint_mode_without_gene_priors_says_so(tiny_counts: Callable[..., Path], mode: str):
    with pytest.raises(ValueError, match="at least one gene prior"):
        model_class(mode)(small_settings(mode, ()), describe(tiny_counts(), {}))


def test_other_genes_are_refused(case: Case, tiny_counts: Callable[..., Path]):
    fewer = tiny_counts(n_genes=55, name="fewer.h5ad")
    with pytest.raises(UserError, match="5 of the model's 60 genes are missing, such as G0055"):
        read_inputs(fewer, case.data)


@pytest.mark.parametrize("mode", CLOSED_FORM)
def test_a_second_fit_gives_the_same_bits(build: Callable[..., Case], mode: str):
    one, two = build(mode), build(mode)
    assert all(torch.equal(value, two.model.state_dict()[name]) for name, value in one.model.state_dict().items())
