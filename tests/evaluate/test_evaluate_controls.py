"""Controls that deal out the rows of a real embedding."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.core.files import provenance_of, read_embedding, read_table, write_embedding
from sclamp.evaluate.controls import control_embedding, permutation_within

SCRIPT = Path(__file__).parents[2] / "scripts" / "embed_control.py"
N = 300
IDS = [f"cell-{i}" for i in range(N)]
Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Make:
    """Write cells and their embedding, call the script; returns its stderr."""

    def call(control: str, seed: int = 0, of_ids: list[str] = IDS, labelled: bool = True, of: bool = True) -> str:
        rng = np.random.default_rng(0)
        obs = pd.DataFrame({"batch": pd.Categorical(rng.choice(["x", "y", None], size=N))}, index=IDS)
        if labelled:
            obs["label"] = pd.Categorical(rng.choice(["A", "B", None], size=N))
        anndata.AnnData(sparse.csr_matrix((N, 2), dtype=np.float32), obs=obs).write_h5ad(tmp_path / "cells.h5ad")
        points = np.repeat(np.arange(len(of_ids), dtype=np.float32)[:, None], 3, axis=1)
        write_embedding(tmp_path / "pca.parquet", "cell_id", of_ids, points, {})
        arguments = ["--counts", tmp_path / "cells.h5ad", "--control", control, "--seed", seed]
        arguments += ["--of", tmp_path / "pca.parquet"] if of else []
        monkeypatch.setattr(
            sys, "argv", ["embed_control.py", *map(str, arguments), "--output", f"{tmp_path}/e.parquet"]
        )
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            assert end.code == 1
        return capsys.readouterr().err

    return call


@pytest.mark.parametrize("control", ["shuffled", "shuffled_within_batch", "shuffled_within_label"])
def test_rows_are_dealt_to_cells_of_the_same_group(make: Make, tmp_path: Path, control: str) -> None:
    dealt = []
    for seed in (0, 0, 1):
        make(control, seed)
        ids, points = read_embedding(tmp_path / "e.parquet", "cell_id")
        assert list(ids) == IDS
        dealt.append(points[:, 0].astype(int))
    first, again, other = dealt
    assert (first == again).all() and (first != other).any()
    assert sorted(first) == list(range(N))
    obs = anndata.read_h5ad(tmp_path / "cells.h5ad").obs
    for column in ("batch", "label"):
        codes = obs[column].cat.codes.to_numpy()  # -1, missing, is a group like the others
        assert (codes[first] == codes).all() == (control == f"shuffled_within_{column}")
    assert (first == np.arange(N)).mean() < 0.05
    assert set(provenance_of(read_table(tmp_path / "e.parquet"))["inputs"]) == {"cells.h5ad", "pca.parquet"}


def test_all_permutations_within_groups_are_equally_probable() -> None:
    groups, rng = np.array([1, 0, 1, 1, 0]), np.random.default_rng(0)
    found = np.array([permutation_within(groups, rng) for _ in range(6000)])
    assert (groups[found] == groups).all()
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 12  # 3! x 2!
    assert np.square(counts - 500).sum() / 500 < 31.3  # 0.1% of chi-squared with 11 degrees of freedom


def test_other_controls_do_not_read_the_embedding(make: Make, tmp_path: Path) -> None:
    make("random", of=True)
    with_it = (tmp_path / "e.parquet").read_bytes()
    make("random", of=False)
    assert (tmp_path / "e.parquet").read_bytes() == with_it


def test_an_embedding_of_other_cells_is_an_error_that_names_both_files(make: Make, tmp_path: Path) -> None:
    said = make("shuffled", of_ids=IDS[:-1])
    assert (
        f"{tmp_path}/pca.parquet: has 299 cells, {tmp_path}/cells.h5ad has 300; both must hold the same cells." in said
    )
    said = make("shuffled", of_ids=[*IDS[:-1], "else"])
    assert "cell 299 is 'else', in" in said and "cells.h5ad it is 'cell-299'" in said
    assert not (tmp_path / "e.parquet").exists()


def test_what_a_control_needs_is_said(make: Make) -> None:
    assert "control 'shuffled_within_batch' needs --of: the cell_embedding.parquet" in make(
        "shuffled_within_batch", of=False
    )
    said = make("shuffled_within_label", labelled=False)
    assert "control 'shuffled_within_label' needs labels: the data set has no obs column 'label'" in said
    assert "take shuffled_within_label out of evaluate.controls" in said
    said = make("shuffled_by_batch")
    assert "--control 'shuffled_by_batch' does not exist; did you mean 'shuffled_within_batch'?" in said


def test_without_labels_shuffling_over_all_cells_works() -> None:
    of = np.arange(6, dtype=np.float32)[:, None]
    assert sorted(control_embedding("shuffled", np.zeros(6, int), None, 0, of)[:, 0]) == list(range(6))
    with pytest.raises(UserError, match="needs labels"):
        control_embedding("label_onehot", np.zeros(6, int), None, 0)
