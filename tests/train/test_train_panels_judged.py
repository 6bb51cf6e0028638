"""What is judged of cells that were not all measured for the same genes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sclamp.config.linear import PCASettings
from sclamp.config.scvi import SCVISettings
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.data.panels import Panels
from sclamp.evaluate.left_out import Prediction, gene_columns
from sclamp.evaluate.ridge import correlations
from sclamp.models.pca import PCA
from sclamp.models.scvi import SCVI
from sclamp.train.corrected import variability_table
from sclamp.train.imputation import hide
from sclamp.train.reconstruction import agreement_of, impute, pairs_table, reconstruct

CPU = torch.device("cpu")
FIELDS: frozenset = frozenset({"counts", "lognorm"})
ROWS = np.arange(0, 120, 3)


@pytest.fixture
def case(tiny_counts: Callable[..., Path]) -> Callable[..., Any]:
    """Factory: a model and its batches; the second batch of cells was measured for 45 of the 60 genes."""

    def make(mode: str = "pca") -> tuple[Any, Batches, np.ndarray]:
        data = describe(path := tiny_counts(), {})
        inputs = read_inputs(path, data)
        table = np.ones((2, 60), dtype=bool)
        table[1, 45:] = False
        inputs = replace(inputs, panels=Panels(("one", "two"), inputs.batch, table))
        torch.manual_seed(0)
        if mode == "scvi":
            model: Any = SCVI(SCVISettings(latent_dim=4, hidden_dims=(16,)), data).eval()
        else:
            model = PCA(PCASettings(latent_dim=4), data)
            model.fit(Batches(inputs, model.wants(), CPU))
        return model, Batches(inputs, model.wants() | FIELDS, CPU), table[inputs.batch]

    return make


@pytest.mark.parametrize("mode", ["pca", "scvi"])
def test_reconstruction_and_imputation_judge_what_was_measured(case: Callable[..., Any], mode: str):
    model, batches, measured = case(mode)
    whole, hidden = reconstruct(model, batches, ROWS), impute(model, batches, ROWS, 0.2, 0)
    assert whole is not None and hidden is not None and hidden.judged is not None
    np.testing.assert_array_equal(whole.judged, measured[ROWS])
    assert not hidden.judged[~measured[ROWS]].any() and 0.15 < hidden.judged[measured[ROWS]].mean() < 0.25
    table = agreement_of(whole).to_pandas().set_index(["scope", "id"])
    assert table.loc[("all", ""), "n"] == measured[ROWS].sum()
    assert table.loc[("gene", "G0059"), "n"] == measured[ROWS][:, 59].sum() < len(ROWS)
    off = {(c, g) for c, g in zip(*np.nonzero(~measured[ROWS]), strict=True)}
    pairs = pairs_table(whole, hidden, 0).to_pandas()
    where = {cell: i for i, cell in enumerate(batches.inputs.cell_ids[ROWS])}
    drawn = {(where[c], int(g[1:])) for c, g in zip(pairs["cell_id"], pairs["gene_id"], strict=True)}
    assert drawn and not drawn & off


def test_hidden_entries_leave_the_others_off_the_panel_at_the_mean(case: Callable[..., Any]):
    _, batches, measured = case()
    (batch,) = batches.of([ROWS])
    hidden = torch.zeros(len(ROWS), 60, dtype=torch.bool)
    hidden[:, 5] = True
    seen = hide(batch, hidden, batches.statistics, batches.inputs.recipe, frozenset({"scaled", "lognorm"}))
    off = ~measured[ROWS] | hidden.numpy()
    assert (seen.scaled.numpy()[off] == 0).all() and (seen.scaled.numpy()[~off] != 0).mean() > 0.9
    np.testing.assert_array_equal(seen.lognorm.numpy()[off], np.tile(batches.inputs.mean, (len(ROWS), 1))[off])


def test_imputed_counts_do_not_depend_on_what_is_foreseen_off_the_panel(case: Callable[..., Any]):
    """A count model's expectation is scaled to what is visible; genes off the panel are not."""
    model, batches, _ = case("scvi")
    before = impute(model, batches, ROWS, 0.2, 0)
    with torch.no_grad():
        model.gene_bias[45:] += 3.0
    after = impute(model, batches, ROWS, 0.2, 0)
    second = batches.inputs.batch[ROWS] == 1
    assert before is not None and after is not None
    np.testing.assert_allclose(after.reconstructed[second][:, :45], before.reconstructed[second][:, :45], atol=1e-5)
    assert np.abs(after.reconstructed[~second][:, :45] - before.reconstructed[~second][:, :45]).max() > 0.1


def test_corrected_expression_is_summed_up_over_the_cells_that_were_measured(case: Callable[..., Any]):
    model, batches, measured = case()
    halves = np.where(np.arange(120) % 2 == 0, "even", "odd")
    table = variability_table(model, batches, halves).to_pandas().set_index(["batch", "gene_id"])
    (batch,) = batches.of([np.arange(120)])
    for name in ("even", "odd"):
        cells = (halves == name) & measured[:, 50]
        values = batch.lognorm.numpy()[cells, 50].astype(np.float64)
        row = table.loc[(name, "G0050")]
        assert row["n"] == cells.sum() < (halves == name).sum()
        assert row["mean_before"] == pytest.approx(values.mean()) and table.loc[(name, "G0001"), "n"] == 60
        assert row["variance_before"] == pytest.approx(values.var(ddof=1))
    alone = variability_table(model, batches, batches.inputs.batch.astype(str)).to_pandas()
    nowhere = alone[(alone["batch"] == "1") & (alone["gene_id"] >= "G0045")]
    assert (nowhere["n"] == 0).all() and nowhere[["mean", "variance", "mean_before"]].isna().all(axis=None)


def test_left_out_genes_are_judged_in_the_cells_that_were_measured():
    rng = np.random.default_rng(0)
    truth, predicted, ridge = rng.normal(size=(3, 30, 4))
    gaps = truth.copy()
    gaps[10:, 1], gaps[:, 3] = np.nan, np.nan
    columns = gene_columns(Prediction(np.array(list("abcd")), gaps, predicted, np.zeros(4), np.ones(4), ridge))
    assert columns["n"].tolist() == [30, 10, 30, 0]
    assert columns["pearson"][1] == pytest.approx(np.corrcoef(truth[:10, 1], predicted[:10, 1])[0, 1])
    assert columns["mse"][1] == pytest.approx(np.square(truth[:10, 1] - predicted[:10, 1]).mean())
    assert np.isnan(columns["pearson"][3]) and np.isnan(columns["mse"][3])
    np.testing.assert_array_equal(columns["pearson"][[0, 2]], correlations(truth, predicted)[[0, 2]])
