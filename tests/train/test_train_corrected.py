"""Mean and variance of corrected expression, per batch and gene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.config.linear import PCASettings
from sclamp.config.scilama import BetaVAESettings
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.base import Model
from sclamp.models.pca import PCA
from sclamp.models.scilama import BetaVAE
from sclamp.train.corrected import variability_table
from sclamp.train.scale import lognorm_of
from sclamp.types import Batch, DataSpec, Want

CPU = torch.device("cpu")
FIELDS = frozenset({"counts", "lognorm"})


class Additive(Model):
    """Gives back what it read, plus 3 in batch "two", or as much as it is told that the batch is "two"."""

    def __init__(self, data: DataSpec, kind: Want = "scaled") -> None:
        super().__init__(None, data)
        self.kind: Want = kind

    def wants(self) -> frozenset[Want]:
        return frozenset({self.kind})

    def embed_cells(self, batch: Batch) -> Tensor:
        return batch.covariates

    def reconstruct_as(self, batch: Batch, covariates: Tensor) -> Tensor:
        return getattr(batch, self.kind) - 3 * batch.covariates[:, 1:] + 3 * covariates[:, 1:]


def test_moments_are_those_of_every_cell_under_the_mean_covariates(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts()
    data = describe(path, {})
    model = Additive(data)
    batches = Batches(inputs := read_inputs(path, data), model.wants() | FIELDS, CPU)
    names = np.array(["one", "two"])[inputs.batch]
    names[:5] = "new"  # a batch that training did not see
    table = variability_table(model, batches, names).to_pandas().set_index(["batch", "gene_id"])
    assert len(table) == 3 * 60

    (whole,) = batches.of([np.arange(120)])
    share = inputs.covariates[inputs.rows("train"), 1].mean()
    shifted = whole.scaled.numpy() + 3 * (share - inputs.covariates[:, 1:])
    corrected = np.maximum(shifted * inputs.std + inputs.mean, 0)
    for name in ("one", "two", "new"):
        rows, found = names == name, table.loc[name]
        assert (found["n"] == rows.sum()).all()
        for x, part in ((corrected, ""), (whole.lognorm.numpy(), "_before")):
            assert found[f"mean{part}"].to_numpy() == pytest.approx(x[rows].mean(0), abs=1e-5)
            assert found[f"variance{part}"].to_numpy() == pytest.approx(x[rows].var(0, ddof=1), abs=1e-5)
    absent = (whole.counts.numpy()[names == "new"] == 0).all(0)
    assert absent.any()
    assert (table.loc["new", "mean_before"].to_numpy()[absent] == 0).all()  # exactly: such genes are not ranked


def test_one_cell_has_no_variance_and_the_order_of_genes_does_not_matter(tiny_counts: Callable[..., Path]) -> None:
    tables = []
    for order, name in ((None, "plain.h5ad"), (np.random.default_rng(0).permutation(60), "moved.h5ad")):
        path = tiny_counts(order=order, name=name)
        data = describe(path, {})
        model = PCA(PCASettings(latent_dim=4), data)
        batches = Batches(read_inputs(path, data), model.wants() | FIELDS, CPU)
        model.fit(batches)
        table = variability_table(model, batches, ["alone"] + ["rest"] * 119).to_pandas()
        tables.append(table.set_index(["batch", "gene_id"]).sort_index())
    assert tables[0].loc["alone", ["variance", "variance_before"]].isna().all(axis=None)
    assert tables[0].loc["rest"].notna().all(axis=None)
    assert np.allclose(tables[0], tables[1], atol=1e-4, equal_nan=True)


def test_a_covariate_effect_is_taken_off_and_its_mean_put_on(tiny_counts: Callable[..., Path]) -> None:
    """sciLaMA: the shift that a batch has by its effects is gone; the encoder still knows the batch of a cell."""
    path = tiny_counts()
    data = describe(path, {})
    torch.manual_seed(0)
    model = BetaVAE(BetaVAESettings(hidden_dims=(8,), latent_dim=3), data).eval()
    with torch.no_grad():
        model.cells.effects.copy_(torch.stack([torch.full((60,), 0.2), torch.full((60,), -0.1)]))
        model.loadings.zero_()  # nothing but effects
        model.cells.bias.fill_(1.0)
    batches = Batches(inputs := read_inputs(path, data), model.wants() | FIELDS, CPU)
    table = variability_table(model, batches, np.array(["one", "two"])[inputs.batch]).to_pandas()
    share = inputs.covariates[inputs.rows("train")].mean(0)
    expected = np.maximum((1 + share @ [2.0, -1.0]) * inputs.std + inputs.mean, 0)
    for _, part in table.groupby("batch"):
        assert part["mean"].to_numpy() == pytest.approx(expected, rel=1e-4)
        assert part["variance"].to_numpy() == pytest.approx(np.zeros(60), abs=1e-8)


@pytest.mark.parametrize("kind", ["counts", "lognorm", "scaled"])
def test_every_input_space_leads_to_lognorm(tiny_counts: Callable[..., Path], kind: Want) -> None:
    path = tiny_counts()
    data = describe(path, {})
    model = Additive(replace(data, recipe=replace(data.recipe, clip=None)), kind)
    batches = Batches(read_inputs(path, model.data), frozenset({"counts", "lognorm", "scaled"}), CPU)
    (batch,) = batches.of([np.arange(20)])
    how = (batch.library_size, batches.statistics, replace(model.data.recipe, clip=10.0))
    found = lognorm_of(model, getattr(batch, kind), *how)
    if kind != "counts":
        assert found.numpy() == pytest.approx(batch.lognorm.numpy(), abs=1e-4)
    else:  # the mean over counts about those expected: see test_train_scale.py
        assert ((found == 0) == (batch.counts == 0)).all() and (found <= batch.lognorm + 1e-4).all()
        below = lognorm_of(model, batch.counts - 1e6, *how)
        assert (below == 0).all()


def test_a_model_without_decoder_has_no_rows(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts()
    data = describe(path, {})
    model = Additive(data)
    batches = Batches(read_inputs(path, data), model.wants() | FIELDS, CPU)
    model.reconstruct_as = lambda batch, covariates: None  # type: ignore[assignment,method-assign,return-value]
    assert variability_table(model, batches, ["one"] * 120).num_rows == 0
