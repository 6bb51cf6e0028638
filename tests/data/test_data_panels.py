"""Gene panels: what a file lacks is unknown, not zero; oracles: numpy on the dense matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from sclamp.config.datasets import Dataset
from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.h5ad import CountMap, read_cells, read_uns
from sclamp.data.hvg import rank_variances
from sclamp.data.inputs import describe, read_inputs
from sclamp.data.panels import Panels, stored
from sclamp.data.placement import Placement
from sclamp.data.prepare import prepare_cells
from sclamp.data.select import select_genes, write_selection
from sclamp.data.sources import open_source

GENES = {"one": range(70), "two": range(10, 70), "three": range(10, 70), "four": range(60)}
"""Genes of each file; `two` and `three` share a panel."""
CELLS = {"one": slice(0, 30), "two": slice(30, 50), "three": slice(50, 65), "four": slice(65, 90)}


@pytest.fixture
def files(raw_file: Callable[..., Path]) -> tuple[str, ...]:
    def part(name: str) -> Callable[[anndata.AnnData], anndata.AnnData]:
        return lambda data: data[CELLS[name]][:, list(GENES[name])].copy()

    return tuple(str(raw_file(part(name), f"{name}.h5ad")) for name in GENES)


@pytest.fixture
def cells_file(files: tuple[str, ...], tmp_path: Path) -> Callable[..., Path]:
    def prepare(**settings: object) -> Path:
        values = {"path": files, "join": "outer", "batch": "file", "quality": {"min_cells": 0}, **settings}
        dataset, output = Dataset.model_validate(values), tmp_path / "cells.h5ad"
        with open_source(dataset) as source:
            prepare_cells(source, dataset, output, {})
        return output

    return prepare


def truth(raw: anndata.AnnData) -> np.ndarray:
    """Which genes each cell was measured for, (cells, genes)."""
    mask = np.zeros(raw.shape, dtype=bool)
    for name, cells in CELLS.items():
        mask[cells, list(GENES[name])] = True
    return mask


def test_each_file_is_a_panel_and_equal_files_share_one(raw, cells_file):
    cells = read_cells(cells_file())
    assert list(cells.obs["panel"]) == ["one"] * 30 + ["two"] * 35 + ["four"] * 25
    assert {name: len(lacks) for name, lacks in cells.spec["panels"].items()} == {"one": 0, "two": 10, "four": 10}
    assert cells.spec["panels"]["two"] == list(raw.var_names[:10])
    panels = stored(cells.obs, cells.spec, list(raw.var_names))
    np.testing.assert_array_equal(panels.measured[panels.of_cell], truth(raw))


def test_files_with_the_same_genes_have_no_panels(raw_file, cells_file):
    paths = (str(raw_file(None, "a.h5ad")), str(raw_file(lambda data: data[:, ::-1].copy(), "b.h5ad")))
    outer = cells_file(path=paths).read_bytes()
    spec = read_uns(cells_file(path=paths))["spec"]
    assert "panels" not in spec and "panel" not in read_cells(cells_file(path=paths)).obs
    assert cells_file(path=paths, join="inner").read_bytes() == outer


def test_what_a_file_lacks_can_be_read_as_zero(cells_file):
    cells = read_cells(cells_file(absent_genes="zero"))
    assert "panels" not in cells.spec and "panel" not in cells.obs and len(cells.var) == 70


def test_what_is_left_of_panels():
    every, none = np.ones(5, dtype=bool), np.zeros(5, dtype=bool)
    measured = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], dtype=bool)
    panels = Panels(("a", "b", "c"), np.array([0, 0, 1, 2, 2]), measured)
    same = panels.take(every, every)
    assert same is not None and same.names == panels.names and (same.of_cell == panels.of_cell).all()
    left = panels.take(np.array([0, 0, 1, 1, 0], dtype=bool), every)
    assert left is not None and left.names == ("b", "c") and list(left.of_cell) == [0, 1]
    assert left.lacking(list("vwxyz")) == {"b": ["x", "z"], "c": ["v"]}
    assert panels.take(every, np.array([0, 1, 0, 1, 0], dtype=bool)) is None  # genes that all have
    assert panels.take(every, none | np.array([1, 1, 0, 0, 0], dtype=bool)).measured.tolist() == [
        [1, 1],
        [1, 1],
        [0, 1],
    ]


def test_cells_that_were_measured_for_each_gene(raw):
    mask, groups = truth(raw), np.random.default_rng(0).integers(-1, 3, 90)
    of_cell = np.repeat([0, 1, 2], [30, 35, 25])
    panels = Panels(("one", "two", "four"), of_cell, mask[[0, 30, 65]])
    expected = np.stack([mask[groups == group].sum(0) for group in range(4)])
    np.testing.assert_array_equal(panels.cells_with(groups, 4), expected)


def test_an_own_column_called_panel_is_kept(raw, raw_file, cells_file):
    def named(data, genes):
        data.obs["panel"] = "mine"
        return data[:, genes].copy()

    first, second = (lambda data: named(data, range(60))), (lambda data: named(data, range(9, 70)))
    paths = (str(raw_file(first, "a.h5ad")), str(raw_file(second, "b.h5ad")))
    obs = read_cells(cells_file(path=paths)).obs
    assert set(obs["panel"]) == {"a", "b"} and set(obs["panel_original"]) == {"mine"}
    alone = read_cells(cells_file(path=paths[0], join="inner", batch=None)).obs
    assert set(alone["panel"]) == {"mine"}


def test_a_panel_that_the_file_does_not_describe_is_an_error(cells_file):
    cells = read_cells(cells_file())
    lacking = {"one": ["GENE1"], "two": []}
    with pytest.raises(UserError, match="has the gene panel 'four', the file describes one, two; prepare it anew"):
        stored(cells.obs, {"panels": lacking}, ["GENE1"])
    assert stored(cells.obs, {"panels": lacking}, ["GENE2"]) is None


# --- inputs of models -------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(cells_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def select(settings: dict | None = None, **dataset: object) -> Path:
        path = cells_file(**dataset)
        cells, counts = read_cells(path), CountMap(path)
        selection = select_genes(counts, cells, GeneSelection.model_validate(settings or {"flavor": "all"}))
        write_selection(selection, counts, cells, tmp_path / "table.parquet", tmp_path / "packed.h5ad", {})
        return tmp_path / "packed.h5ad"

    return select


WANTS: frozenset = frozenset({"counts", "log_counts", "entries", "lognorm", "scaled"})


@pytest.mark.parametrize("resident", [True, False])
def test_batches_say_what_was_measured_and_hold_the_mean_elsewhere(raw, packed, resident):
    path = packed()
    inputs = read_inputs(path, describe(path, {}))
    batches = Batches(inputs, WANTS, torch.device("cpu"), Placement(resident, None, "test"))
    rows = np.array([70, 3, 40, 89, 12])
    batch = next(batches.of([rows]))
    mask = truth(raw)[rows]
    np.testing.assert_array_equal(batch.measured.numpy(), mask)
    np.testing.assert_array_equal(batch.counts.numpy(), np.where(mask, raw.X.toarray()[rows], 0))
    np.testing.assert_array_equal(batch.scaled.numpy()[~mask], 0)
    np.testing.assert_array_equal(batch.lognorm.numpy()[~mask], np.tile(inputs.mean, (5, 1))[~mask])
    library = (raw.X.toarray() * truth(raw)).sum(1)[rows]
    expected = np.log1p(raw.X.toarray()[rows] / library[:, None] * 1e4)
    np.testing.assert_allclose(batch.lognorm.numpy()[mask], expected[mask], rtol=1e-5)
    np.testing.assert_allclose(batch.library_size.numpy(), library)


def test_sparse_batches_say_it_too(raw, packed):
    path = packed()
    inputs = read_inputs(path, describe(path, {}))
    rows, wants = np.array([70, 3, 40]), frozenset({"log_counts", "entries"})
    batch = next(Batches(inputs, wants, torch.device("cpu")).of([rows]))
    mask, counts = truth(raw)[rows], np.zeros(3 * 70, np.float32)
    np.testing.assert_array_equal(batch.measured.numpy(), mask)
    counts[batch.entries.position.numpy()] = batch.entries.count.numpy()
    np.testing.assert_array_equal(counts.reshape(3, 70), np.where(mask, raw.X.toarray()[rows], 0))
    np.testing.assert_allclose(batch.log_counts.numpy(), np.log1p(counts.reshape(3, 70)), rtol=1e-6)


def test_without_panels_nothing_is_masked(raw, packed):
    path = packed(absent_genes="zero")
    inputs = read_inputs(path, describe(path, {}))
    batch = next(Batches(inputs, WANTS, torch.device("cpu")).of([np.arange(90)]))
    assert inputs.panels is None and batch.measured is None
    assert (batch.scaled.numpy()[~truth(raw)] < 0).mean() > 0.9  # a count of zero is no mean


def test_a_model_of_genes_that_all_panels_have_knows_no_panels(raw, packed):
    path = packed()
    shared = tuple(raw.var_names[10:60])
    data = replace(describe(path, {}), gene_ids=shared)
    assert read_inputs(path, data).panels is None
    some = read_inputs(path, replace(data, gene_ids=(*shared, "GENE65", "MT-CO1"))).panels
    assert some is not None and some.measured.sum(1).tolist() == [52, 51, 51]


def test_a_training_says_what_panels_lack(packed, capsys):
    describe(packed(), {})
    assert "gene panels: of 70 genes 'one' 70, 'two' 60, 'four' 60; 50 are on all of them" in capsys.readouterr().err


def test_a_panel_without_a_gene_of_the_model_is_an_error(raw, packed):
    path = packed()
    prior = {"text": (np.array(raw.var_names[:10], dtype=object), np.ones((10, 2), np.float32))}
    with pytest.raises(UserError, match="the gene panel 'two' has none of the 10 genes that the model would read"):
        describe(path, prior)


# --- gene statistics --------------------------------------------------------------------------------------------------


@pytest.fixture
def table_of(cells_file: Callable[..., Path]) -> Callable[..., pd.DataFrame]:
    def select(selection: dict, **dataset: object) -> pd.DataFrame:
        path = cells_file(**dataset)
        settings = GeneSelection.model_validate({"cells": "all", **selection})
        return select_genes(CountMap(path), read_cells(path), settings).table.set_index("gene_id")

    return select


def test_moments_are_those_of_the_cells_that_were_measured(raw, cells_file, table_of):
    mask, counts = truth(raw), raw.X.toarray().astype(np.float64)
    table = table_of({"flavor": "all"}).loc[raw.var_names]
    seen = np.ma.array(counts, mask=~mask)
    np.testing.assert_allclose(table["means"], seen.mean(0))
    np.testing.assert_allclose(table["variances"], seen.var(0, ddof=1), rtol=1e-10)
    train = (read_cells(cells_file()).obs["split"] == "train").to_numpy()
    normal = np.ma.array(np.log1p(counts / (counts * mask).sum(1, keepdims=True) * 1e4), mask=~mask)[train]
    np.testing.assert_allclose(table["lognorm_mean"], normal.mean(0), rtol=1e-6)
    varies = normal.std(0) > 0
    np.testing.assert_allclose(table["lognorm_std"][varies], normal.std(0)[varies], rtol=1e-6)
    diluted = table_of({"flavor": "all"}, absent_genes="zero")
    assert diluted.loc["GENE65", "means"] == pytest.approx(table.loc["GENE65", "means"] * 65 / 90)  # what zeros do


@pytest.mark.parametrize("flavor", ["seurat_v3", "seurat_v3_paper", "seurat", "cell_ranger"])
def test_variable_genes_are_judged_in_the_files_that_have_them(files, table_of, flavor):
    """Of each file alone the score is scanpy's (other tests); together it is the mean over the files with the gene."""
    selection, score = {"flavor": flavor, "n_genes": 55}, ("variances" if "v3" in flavor else "dispersions") + "_norm"
    settings = {"batch": None, "join": "inner", "quality": {"min_cells": 0 if "v3" in flavor else 1}}
    alone = [table_of({**selection, "batch_aware": False}, path=path, **settings) for path in files]
    together, have = table_of(selection), [anndata.read_h5ad(path).var_names for path in files]
    scores = pd.concat([t[score].reindex(h, fill_value=0) for t, h in zip(alone, have, strict=True)], axis=1)
    expected = scores.mean(axis=1)  # the dispersion of a gene that was measured and not seen is 0
    np.testing.assert_allclose(together[score], expected.loc[together.index], rtol=1e-9)
    tops = pd.concat([table["selected"] for table in alone], axis=1).sum(axis=1)
    if "v3" in flavor:
        np.testing.assert_array_equal(together["n_batches"], tops.loc[together.index])


def test_a_gene_of_few_panels_is_not_ranked_behind_for_it():
    scores = np.array([[9.0, 5.0, np.nan, 4.0], [9.0, 1.0, 7.0, 4.0], [9.0, 1.0, np.nan, 4.0]])
    ranking = rank_variances(scores, 2, "seurat_v3_paper")
    assert list(ranking.order[:2]) == [0, 2]  # the third is in the top of the only batch that has it
    assert ranking.n_batches.tolist() == [3, 1, 1, 1] and ranking.score.tolist() == [9, 7 / 3, 7, 4]
    few = rank_variances(np.array([[1.0, np.nan, np.nan], [1.0, 2.0, np.nan]]), 2, "seurat_v3")
    assert np.isnan(few.rank[2]) and np.isnan(few.score[2]) and few.n_batches[2] == 0  # measured nowhere, in no top
