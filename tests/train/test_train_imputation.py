"""Hidden entries: which ones, that nothing of them reaches a model, and what is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sclamp.config.scilama import BetaVAESettings
from sclamp.data.batches import Batches, entries_of, normalise
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.base import Model
from sclamp.models.scilama import BetaVAE
from sclamp.train.imputation import hidden_entries, hide
from sclamp.train.reconstruction import (
    MAX_PAIRS,
    Reconstruction,
    agreement_of,
    held_out_rows,
    impute,
    pairs_table,
    reconstruct,
)
from sclamp.types import Batch, GeneStatistics, Recipe

CPU = torch.device("cpu")
CELLS, GENES = [f"c{i}" for i in range(40)], [f"g{i}" for i in range(50)]
WANTS = frozenset({"counts", "log_counts", "entries", "lognorm", "scaled"})


def test_each_cell_hides_its_share_and_every_gene_is_as_likely() -> None:
    cells = [f"c{i}" for i in range(4000)]
    mask = hidden_entries(cells, GENES, 0.1, 3)
    assert (mask.sum(1) == 5).all()
    assert mask.mean(0) == pytest.approx(np.full(50, 0.1), abs=5 * np.sqrt(0.09 / 4000))
    together = mask[:, :25].astype(float).T @ mask[:, 25:]  # pairs of genes are hidden together as often as chance says
    assert together.mean() == pytest.approx(4000 * 5 / 50 * 4 / 49, rel=0.05)
    assert hidden_entries(CELLS, GENES[:3], 0.01, 0).sum() == len(CELLS)  # one at least


def test_the_draw_follows_ids_and_seed_alone() -> None:
    mask = hidden_entries(CELLS, GENES, 0.2, 7)
    cells, genes = np.random.default_rng(0).permutation(40), np.random.default_rng(1).permutation(50)
    moved = hidden_entries([CELLS[i] for i in cells], [GENES[i] for i in genes], 0.2, 7)
    assert np.array_equal(moved, mask[cells][:, genes])
    assert not np.array_equal(hidden_entries(CELLS, GENES, 0.2, 8), mask)


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    counts = torch.from_numpy(rng.poisson(2.0, (40, 50)).astype(np.float32))
    nothing = torch.zeros(40, dtype=torch.int64)
    return Batch(torch.arange(40), torch.zeros(40, 1), nothing, counts.sum(1) + 30, counts=counts)


@pytest.fixture
def statistics() -> GeneStatistics:
    rng = np.random.default_rng(1)
    mean, std = (torch.from_numpy(rng.uniform(0.5, 2, 50).astype(np.float32)) for _ in range(2))
    return GeneStatistics(mean, std)


def test_hidden_entries_look_like_the_training_mean(batch: Batch, statistics: GeneStatistics) -> None:
    hidden = torch.from_numpy(hidden_entries(CELLS, GENES, 0.2, 0))
    seen = hide(batch, hidden, statistics, Recipe(), WANTS)
    assert (seen.counts[hidden] == 0).all() and (seen.scaled[hidden] == 0).all()
    assert torch.equal(seen.lognorm[hidden], statistics.mean.expand(40, -1)[hidden])
    visible = (batch.library_size.double() - (batch.counts * hidden).double().sum(1)).unsqueeze(1)
    assert torch.equal(seen.library_size, visible[:, 0].float())
    expected = torch.log1p(batch.counts.double() / visible * 1e4)
    assert seen.lognorm[~hidden].numpy() == pytest.approx(expected[~hidden].numpy(), rel=1e-5)
    z = ((expected - statistics.mean) / statistics.std).clamp(-10, 10)
    assert seen.scaled[~hidden].numpy() == pytest.approx(z[~hidden].numpy(), abs=1e-4)
    assert torch.equal(seen.log_counts, torch.log1p(seen.counts))
    listed = torch.zeros(40 * 50).index_put((seen.entries.position,), seen.entries.count)
    assert torch.equal(listed.view(40, 50), seen.counts) and (seen.entries.count > 0).all()


def test_other_hidden_counts_change_nothing_that_the_model_sees(batch: Batch, statistics: GeneStatistics) -> None:
    """The leak test: hidden counts are replaced, and the cell's library size grows by as much as it would."""
    hidden = torch.from_numpy(hidden_entries(CELLS, GENES, 0.2, 0))
    other = torch.where(hidden, batch.counts.flip(0) + 17, batch.counts)
    grown = batch.library_size + (other - batch.counts).sum(1)
    changed = Batch(**(vars(batch) | {"counts": other, "library_size": grown}))
    one, two = (hide(each, hidden, statistics, Recipe(), WANTS) for each in (batch, changed))
    for name in ("counts", "log_counts", "lognorm", "scaled", "library_size", "covariates", "batch"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert torch.equal(one.entries.position, two.entries.position)
    assert torch.equal(one.entries.count, two.entries.count)


def test_fields_that_the_model_does_not_want_stay_away(batch: Batch, statistics: GeneStatistics) -> None:
    hidden = torch.zeros(40, 50, dtype=torch.bool)
    held = {"lognorm": batch.counts, "scaled": batch.counts, "entries": entries_of(batch.counts)}
    full = Batch(**(vars(batch) | held))
    seen = hide(full, hidden, statistics, Recipe(), frozenset({"scaled"}))
    assert seen.counts is None and seen.lognorm is None and seen.log_counts is None and seen.entries is None
    plain = normalise(batch.counts.clone(), batch.library_size, statistics, Recipe(), frozenset({"scaled"}))
    assert torch.equal(seen.scaled, plain["scaled"])  # nothing hidden: the usual input
    assert torch.equal(batch.counts, full.counts)  # and the batch is as it was


# --- whole models -----------------------------------------------------------------------------------------------------


class Case:
    """A small VAE on the tiny file."""

    def __init__(self, path: Path) -> None:
        data = describe(path, {})
        torch.manual_seed(0)
        self.model: Model = BetaVAE(BetaVAESettings(hidden_dims=(16,), latent_dim=4), data).eval()
        self.inputs = read_inputs(path, data)
        self.batches = Batches(self.inputs, self.model.wants() | {"counts", "lognorm"}, CPU)
        self.rows = self.inputs.rows("test")


@pytest.fixture
def case(tiny_counts: Callable[..., Path]) -> Case:
    return Case(tiny_counts())


def test_only_hidden_entries_are_judged(case: Case) -> None:
    found = impute(case.model, case.batches, case.rows, 0.25, 5)
    mask = hidden_entries(case.inputs.cell_ids[case.rows], case.model.data.gene_ids, 0.25, 5)
    table = agreement_of(found).to_pandas().set_index(["scope", "id"])
    assert table.loc[("all", ""), "n"] == mask.sum() == 15 * 24
    error = (found.measured - found.reconstructed)[mask]
    assert table.loc[("all", ""), "mse"] == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert table.loc["gene", "n"].tolist() == mask.sum(0).tolist()
    assert (table.loc["cell", "n"] == 15).all()
    whole = reconstruct(case.model, case.batches, case.rows)
    assert not np.allclose(whole.reconstructed, found.reconstructed)  # the model did see something else


def test_a_models_imputation_ignores_the_order_of_genes(tiny_counts: Callable[..., Path]) -> None:
    from sclamp.train.checkpoint import save_model, start_from

    order = np.random.default_rng(2).permutation(60)
    plain, moved = Case(tiny_counts()), Case(tiny_counts(order=order, name="moved.h5ad"))
    path = tiny_counts().with_name("model.pt")
    save_model(path, plain.model, plain.batches.statistics, {})
    start_from(moved.model, path)
    one, two = (impute(c.model, c.batches, c.rows, 0.2, 1) for c in (plain, moved))
    assert np.array_equal(one.judged[:, order], two.judged)
    assert two.reconstructed == pytest.approx(one.reconstructed[:, order], abs=1e-4)


def test_a_model_without_decoder_has_no_rows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case.model, "reconstruct", lambda batch: None)
    assert reconstruct(case.model, case.batches, case.rows) is None
    assert impute(case.model, case.batches, case.rows, 0.2, 1) is None
    assert agreement_of(None).num_rows == pairs_table(None, None, 0).num_rows == 0


def test_without_held_out_cells_there_is_nothing(case: Case) -> None:
    assert reconstruct(case.model, case.batches, case.rows[:0]) is None
    assert impute(case.model, case.batches, case.rows[:0], 0.2, 1) is None


def test_held_out_rows_are_test_cells_or_else_validation_cells(
    tiny_counts: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tiny_counts())
    assert held_out_rows(case.inputs, 60).tolist() == case.inputs.rows("test").tolist()
    monkeypatch.setattr("sclamp.train.agreement.spaced.__defaults__", (600,))
    assert len(held_out_rows(case.inputs, 60)) == 10
    assert "measured on 10 of 24 test cells" in capsys.readouterr().err
    without = Case(tiny_counts(splits=(0.8, 0.2, 0.0)))
    assert len(held_out_rows(without.inputs, 1)) == 24
    assert "measured on the validation cells" in capsys.readouterr().err


def _pairs(seen: Any, hidden: Any) -> Any:
    return pairs_table(seen, hidden, 4).to_pandas()


def test_pairs_are_entries_half_of_them_hidden(case: Case) -> None:
    whole = reconstruct(case.model, case.batches, case.rows)
    hidden = impute(case.model, case.batches, case.rows, 0.5, 1)
    table = _pairs(whole, hidden)
    assert table["masked"].sum() == 24 * 30  # all there are; the rest are entries that the model saw
    assert len(table) == 24 * 30 + 24 * 60
    for masked, part in table.groupby("masked"):
        found: Reconstruction = hidden if masked else whole
        cells = {str(cell): i for i, cell in enumerate(found.cell_ids)}
        genes = {gene: i for i, gene in enumerate(found.gene_ids)}
        at = part["cell_id"].map(cells).to_numpy(), part["gene_id"].map(genes).to_numpy()
        assert np.array_equal(found.measured[at], part["measured"].to_numpy())
        assert np.array_equal(found.reconstructed[at], part["reconstructed"].to_numpy())
        assert not masked or found.judged[at].all()
    assert not table.duplicated(["cell_id", "gene_id", "masked"]).any()
    assert table.equals(_pairs(whole, hidden))


def test_a_sample_of_pairs_is_half_hidden() -> None:
    values = np.arange(60_000, dtype=np.float32).reshape(200, 300)
    cells, genes = np.arange(200).astype(str), tuple(map(str, range(300)))
    seen = Reconstruction(values, values, cells, genes)
    table = _pairs(seen, Reconstruction(values, values, cells, genes, values % 3 == 0))
    assert table["masked"].value_counts().to_dict() == {True: MAX_PAIRS // 2, False: MAX_PAIRS // 2}
    assert (table.loc[table["masked"], "measured"] % 3 == 0).all()
    assert len(_pairs(seen, None)) == MAX_PAIRS
