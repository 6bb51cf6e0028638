"""Count models are judged on the scale of the others: z-scored log-normalised expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from sclamp.config.base import ModelSettings
from sclamp.config.registry import MODES, model_class, settings_class
from sclamp.core.files import read_embedding
from sclamp.data.batches import Batches
from sclamp.data.inputs import Inputs, describe, read_inputs
from sclamp.models.base import Model
from sclamp.train.checkpoint import Loaded
from sclamp.train.corrected import variability_table
from sclamp.train.imputation import conditioned, hidden_entries, hide
from sclamp.train.left_out import predict_left_out, unseen_genes
from sclamp.train.reconstruction import impute, reconstruct
from sclamp.train.scale import compared_on, expected_lognorm, measured, space
from sclamp.types import Batch, DataSpec, GeneStatistics, Recipe, Want

CPU = torch.device("cpu")
GENES = np.array([f"G{i:04d}" for i in range(60)], dtype=object)


class Echo(Model):
    """A count model that reads log counts and entries, and gives back exactly the counts that it saw."""

    def wants(self) -> frozenset[Want]:
        return frozenset({"log_counts", "entries"})

    def embed_cells(self, batch: Batch) -> Tensor:
        return batch.log_counts

    def counts(self, batch: Batch) -> Tensor:
        where = torch.zeros(batch.log_counts.numel()).index_put((batch.entries.position,), batch.entries.count)
        counts = where.view_as(batch.log_counts)
        assert torch.equal(counts.log1p(), batch.log_counts)
        return counts

    def reconstruct(self, batch: Batch) -> Tensor:
        return self.counts(batch)


class Shares(Echo):
    """Expects of each gene its share of all counts in `profile`, times the counts that it saw: a softmax decoder."""

    profile = torch.arange(1.0, 61.0) / torch.arange(1.0, 61.0).sum()

    def reconstruct(self, batch: Batch) -> Tensor:
        return self.profile * self.counts(batch).sum(1, keepdim=True)

    def predict_genes(self, batch: Batch, gene_priors: Mapping[str, Tensor]) -> Tensor:
        return gene_priors["text"][:, 0].exp() * 0.01 * batch.library_size.unsqueeze(1)


def case(path: Path, kind: type[Model], priors: dict[str, int] | None = None) -> tuple[Model, Batches]:
    data = describe(path, {})
    model = kind(ModelSettings(mode="none"), DataSpec(**(vars(data) | {"gene_priors": priors or {}})))
    return model, Batches(read_inputs(path, data), model.wants() | {"counts", "lognorm"}, CPU)


def mean_log(mean: np.ndarray, library: np.ndarray) -> np.ndarray:
    """E log(1 + 10,000 X / library) for X ~ Poisson(mean), (cells, genes): the sum itself, by scipy, in float64."""
    mean = np.broadcast_to(mean, (len(library), mean.shape[-1])).astype(np.float64)
    x = np.arange(int(mean.max() + 12 * mean.max() ** 0.5) + 30)
    logs = np.log1p(x * 1e4 / library.astype(np.float64)[:, None])
    return np.stack([poisson.pmf(x[:, None], line).T @ log for line, log in zip(mean, logs, strict=True)])


def z_scored(x: np.ndarray, inputs: Inputs, std: np.ndarray | None = None) -> np.ndarray:
    return ((x - inputs.mean) / (inputs.std if std is None else std)).clip(-10, 10)


def scaled_inputs(batches: Batches, rows: np.ndarray) -> np.ndarray:
    """What a model of scaled expression reads."""
    plain = Batches(batches.inputs, frozenset({"scaled"}), CPU)
    return next(iter(plain.of([rows]))).scaled.numpy()


@pytest.mark.parametrize(
    ("wants", "gives", "judged"),
    [
        ({"counts"}, "counts", "scaled"),
        ({"log_counts", "entries", "labels"}, "counts", "scaled"),
        ({"entries", "scaled"}, "counts", "scaled"),
        ({"lognorm", "scaled"}, "lognorm", "lognorm"),
        ({"scaled"}, "scaled", "scaled"),
    ],
)
def test_what_a_model_gives_back_follows_what_it_reads(wants: set[Want], gives: str, judged: str) -> None:
    model = Echo(None, DataSpec(("A",)))
    model.wants = lambda: frozenset(wants)  # type: ignore[method-assign]
    assert (space(model), compared_on(model)) == (gives, judged)


def test_the_mean_of_logs_is_not_the_log_of_the_mean() -> None:
    mean = torch.cat([torch.logspace(-4, 3, 300), torch.tensor([0.0, -1.0, 19.99, 20.01])])
    library = torch.tensor([400.0, 5_000.0, 80_000.0])
    every = mean.expand(3, -1)
    expected = mean_log(mean.clamp_min(0).numpy(), library.numpy())
    for genes in (slice(None), mean < 1):  # the latter by fewer terms
        found = expected_lognorm(every[:, genes], library, Recipe()).numpy()
        assert found == pytest.approx(expected[:, genes], abs=1.5e-3)
    rare = expected_lognorm(torch.full((1, 1), 0.1), torch.full((1,), 700.0), Recipe())
    plug_in = np.log1p(0.1 / 700 * 1e4)
    assert float(rare) < 0.4 * plug_in
    linear = expected_lognorm(torch.full((1, 1), 0.1), torch.full((1,), 700.0), Recipe(log1p=False))
    assert float(linear) == pytest.approx(0.1 / 700 * 1e4)


def test_expected_counts_become_what_other_models_read(tiny_counts: Callable[..., Path]) -> None:
    """The mean of the scaled inputs of cells with such counts, clip included; the truth is sciLaMA's to the bit."""
    path = tiny_counts(scale=40.0)
    model, batches = case(path, Echo)
    rows = batches.inputs.rows("test")
    batches.statistics = GeneStatistics(batches.statistics.mean, batches.statistics.std / 8)  # so that some are clipped
    other = Batches(batches.inputs, frozenset({"scaled"}), CPU)
    other.statistics = batches.statistics
    found = reconstruct(model, batches, rows)
    assert np.array_equal(found.measured, next(iter(other.of([rows]))).scaled.numpy())
    counts, library = next(iter(batches.of([rows]))).counts.numpy(), batches.inputs.library_size[rows]
    expected = z_scored(mean_log(counts, library), batches.inputs, batches.inputs.std / 8)
    assert found.reconstructed == pytest.approx(expected, abs=0.08)
    assert (np.abs(found.reconstructed) == 10).any() and (np.abs(found.reconstructed) < 10).any()


def test_a_shifted_reconstruction_is_not_perfect(tiny_counts: Callable[..., Path]) -> None:
    """The counterpart: twice the counts are log 2 away wherever counts are not small."""
    model, batches = case(tiny_counts(scale=40.0), Echo)
    model.reconstruct = lambda batch: 2 * Echo.reconstruct(model, batch)  # type: ignore[method-assign]
    rows = batches.inputs.rows("test")
    found = reconstruct(model, batches, rows)
    std, inside = batches.inputs.std, np.abs(found.reconstructed) < 10
    many = next(iter(batches.of([rows]))).counts.numpy() > 20
    shift = ((found.reconstructed - found.measured) * std)[inside & many]
    assert len(shift) > 100
    assert shift == pytest.approx(np.full(len(shift), np.log(2)), abs=0.06)


def test_imputed_counts_are_those_of_a_cell_as_deep_as_this_one() -> None:
    """Exact where the model is right: a cell of the model's own profile is imputed without error."""
    counts = torch.tensor([[2.0], [5.0]]) * torch.arange(1.0, 61.0)
    hidden = torch.from_numpy(hidden_entries(["a", "b"], list(GENES), 0.3, 0))
    seen = counts.masked_fill(hidden, 0)
    expected = Shares.profile * seen.sum(1, keepdim=True)
    assert (expected[hidden] < 0.9 * counts[hidden]).all()  # what the model says by itself: too little of everything
    assert conditioned(expected, counts, hidden).numpy() == pytest.approx(counts.numpy(), rel=1e-5)
    assert (conditioned(torch.zeros(2, 60), counts, hidden) == 0).all()


def test_imputation_hides_counts_in_every_form(tiny_counts: Callable[..., Path]) -> None:
    model, batches = case(tiny_counts(scale=5.0), Echo)
    rows = batches.inputs.rows("test")
    found = impute(model, batches, rows, 0.25, 3)
    # A model that repeats what it sees says zero of what was hidden, and all the rest as it is.
    zero = np.clip(-batches.inputs.mean / batches.inputs.std, -10, 10)
    assert found.reconstructed[found.judged] == pytest.approx(np.broadcast_to(zero, (24, 60))[found.judged], abs=1e-5)
    assert (found.measured[found.judged] > np.broadcast_to(zero, (24, 60))[found.judged] + 0.1).any()
    # The truth is normalised by what is visible, as for every other model.
    counts = next(iter(batches.of([rows]))).counts.double().numpy()
    visible = batches.inputs.library_size[rows].astype(float) - (counts * found.judged).sum(1)
    truth = z_scored(np.log1p(counts / visible[:, None] * 1e4), batches.inputs)
    assert found.measured == pytest.approx(truth, abs=1e-4)
    expected = z_scored(mean_log(counts, visible), batches.inputs)
    assert found.reconstructed[~found.judged] == pytest.approx(expected[~found.judged], abs=1e-2)


def test_a_softmax_decoder_imputes_the_hidden_share(tiny_counts: Callable[..., Path]) -> None:
    model, batches = case(tiny_counts(scale=5.0), Shares)
    rows = batches.inputs.rows("test")
    found = impute(model, batches, rows, 0.4, 3)
    counts = next(iter(batches.of([rows]))).counts.double().numpy()
    total = (counts * ~found.judged).sum(1) / (Shares.profile.double().numpy() * ~found.judged).sum(1)
    visible = batches.inputs.library_size[rows].astype(float) - (counts * found.judged).sum(1)
    expected = mean_log(total[:, None] * Shares.profile.numpy(), visible)
    assert found.reconstructed == pytest.approx(z_scored(expected, batches.inputs), abs=1e-2)


def test_corrected_expression_of_a_count_model_is_log_normalised(tiny_counts: Callable[..., Path]) -> None:
    model, batches = case(tiny_counts(), Echo)
    table = variability_table(model, batches, ["one"] * 120).to_pandas()
    (whole,) = batches.of([np.arange(120)])
    expected = mean_log(whole.counts.numpy(), batches.inputs.library_size)
    assert table["mean"].to_numpy() == pytest.approx(expected.mean(0), abs=2e-3)
    assert table["variance"].to_numpy() == pytest.approx(expected.var(0, ddof=1), abs=1e-2)
    assert table["mean_before"].to_numpy() == pytest.approx(whole.lognorm.numpy().mean(0), abs=1e-4)


def test_left_out_genes_of_a_count_model(tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path]) -> None:
    path, whole = tiny_counts(), tiny_prior(list(GENES))
    priors = {"text": read_embedding(whole, "gene_id")}
    data = describe(path, {"text": (GENES[:50], priors["text"][1][:50])})
    model = Shares(ModelSettings(mode="none"), data)
    model.load_gene_priors({"text": torch.from_numpy(priors["text"][1][:50].copy())})
    inputs = read_inputs(path, data)
    statistics = GeneStatistics(torch.from_numpy(inputs.mean), torch.from_numpy(inputs.std))
    new = unseen_genes(model, priors, GENES)
    found = predict_left_out(Loaded(model, statistics, {}), path, priors, new, CPU)
    rows = inputs.rows("test")
    all_genes = Batches(read_inputs(path, describe(path, {})), frozenset({"scaled"}), CPU)
    x = scaled_inputs(all_genes, rows)
    assert found.known == pytest.approx(x[:, :50], abs=1e-5) and found.truth == pytest.approx(x[:, 50:], abs=1e-5)
    share = np.exp(priors["text"][1][50:, 0].astype(float)) * 0.01
    mean, std = all_genes.inputs.mean[50:], all_genes.inputs.std[50:]
    library = inputs.library_size[rows].astype(np.float64)
    z = ((mean_log(share * library[:, None], library) - mean) / std).clip(-10, 10)
    assert found.predicted == pytest.approx(z - z.mean(0), abs=1e-2)  # about the mean, which the model guesses
    assert (found.mean == 0).all() and found.tuning.shape == (12, 50)


def test_a_model_of_another_input_is_untouched(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts()
    model, batches = case(path, Echo)
    model.wants = lambda: frozenset({"scaled"})  # type: ignore[method-assign]
    (batch,) = Batches(batches.inputs, frozenset({"scaled"}), CPU).of([np.arange(5)])
    assert measured(model, batch, batches.statistics, batches.inputs.recipe) is batch.scaled


COUNT_MODES = [name for name in MODES if "likelihood" in settings_class(name).model_fields]


@pytest.mark.parametrize("mode", COUNT_MODES)
def test_hidden_counts_reach_no_registered_count_model(tiny_counts: Callable[..., Path], mode: str) -> None:
    """Other hidden counts, and the library size that goes with them: the same imputed entries to the bit."""
    known = settings_class(mode)
    small = {"mode": mode, "latent_dim": 4, "hidden_dims": (16,), "device": "cpu"}
    path = tiny_counts(scale=3.0)
    torch.manual_seed(0)
    model = model_class(mode)(known(**{k: v for k, v in small.items() if k in known.model_fields}), describe(path, {}))
    model.eval()
    batches = Batches(inputs := read_inputs(path, model.data), model.wants() | {"counts", "lognorm"}, CPU)
    (batch,) = batches.of([inputs.rows("test")])
    hidden = torch.from_numpy(hidden_entries(inputs.cell_ids[inputs.rows("test")], model.data.gene_ids, 0.2, 0))
    other = torch.where(hidden, batch.counts.flip(0) + 3, batch.counts)
    changed = replace(batch, counts=other, library_size=batch.library_size + (other - batch.counts).sum(1))
    with torch.no_grad():
        one, two = (
            model.reconstruct(hide(each, hidden, batches.statistics, inputs.recipe, model.wants()))
            for each in (batch, changed)
        )
    assert torch.equal(one, two) and not torch.equal(one, model.reconstruct(batch).detach())
    found = impute(model, batches, inputs.rows("test"), 0.2, 0)
    assert np.isfinite(found.reconstructed).all()
    # Untrained, a decoder expects about as much of every gene: log expression of a few, neither none nor thousands.
    x = found.reconstructed * inputs.std + inputs.mean
    depth = np.log1p(1e4 / 60)
    assert abs(np.median(x) - depth) < 1
