"""The scripts as they are called, from embedding to summary; what they say about bad input."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from sclamp.core.files import provenance_of, read_embedding, write_embedding
from sclamp.evaluate.rows import COLUMNS

SCRIPTS = Path(__file__).parents[2] / "scripts"
FORBIDDEN = ("torch", "sklearn", "scanpy", "umap", "numba", "transformers")
N = 240
IDS = [f"cell-{i}" for i in range(N)]

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run a script in this process; returns its stderr, or raises SystemExit with it printed."""

    def call(name: str, *arguments: object, fails: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        if fails:
            with pytest.raises(SystemExit) as exit_:
                runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
            assert exit_.value.code == 1
        else:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().err

    return call


def write_cells(path: Path, **columns: object) -> Path:
    rng = np.random.default_rng(0)
    obs = {
        "batch": pd.Categorical(np.array(["x", "y"])[rng.integers(2, size=N)]),
        "label": pd.Categorical(np.array(["A", "B", "C"])[rng.integers(3, size=N)]),
        "split": pd.Categorical(np.array(["train", "val", "test"])[rng.choice(3, p=[0.4, 0.2, 0.4], size=N)]),
    }
    frame = pd.DataFrame({k: v for k, v in {**obs, **columns}.items() if v is not None}, index=IDS)
    anndata.AnnData(sparse.csr_matrix((N, 4), dtype=np.float32), obs=frame).write_h5ad(path)
    return path


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells.h5ad")


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    points = np.random.default_rng(1).normal(size=(N, 6))
    write_embedding(tmp_path / "embedding.parquet", "cell_id", IDS, points, {})
    return tmp_path / "embedding.parquet"


def score(run: Run, folder: Path, cells: Path, embedding: Path, model: str = "m", **options: object) -> pd.DataFrame:
    run("find_neighbors", "--embedding", embedding, "--output", folder / "n.parquet")
    more = [text for key, value in options.items() for text in (f"--{key}", value)]
    run("score_integration", "--cells", cells, "--embedding", embedding, "--neighbors", folder / "n.parquet",
        "--dataset", "d", "--model", model, "--seed", 3, "--output", folder / f"{model}.parquet",
        "--replicates", folder / f"{model}_r.parquet", "--per-cell", folder / f"{model}_c.parquet", *more)  # fmt: skip
    return pd.read_parquet(folder / f"{model}.parquet")


def test_from_an_embedding_to_a_summary(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    table = score(run, tmp_path, cells, embedding, reference=embedding)
    assert {name: str(t) for name, t in zip(*_schema(tmp_path / "m.parquet"), strict=True)} == {
        name: {"float64": "double"}.get(kind, kind) for name, kind in COLUMNS.items()
    }
    assert set(table["dataset"]) == {"d"} and set(table["model"]) == {"m"} and set(table["seed"]) == {3}
    assert set(table["cells"]) == {"all", "held_out"}
    assert set(table["task"]) == {"integration", "probe", "unseen_batch"}
    assert (table["value"].notna() == (table["status"] == "ok")).all()
    assert ((table["reason"] == "") == (table["status"] == "ok")).all()
    assert table.set_index(["cells", "metric"])["value"]["all", "pcr_comparison"] == 0

    for control in ("random", "label_onehot"):
        run("embed_control", "--counts", cells, "--control", control, "--seed", 3, "--output", tmp_path / "c.parquet")
        score(run, tmp_path, cells, tmp_path / "c.parquet", f"control_{control}")
    tables = [tmp_path / f"{model}.parquet" for model in ("m", "control_random", "control_label_onehot")]
    run("summarize_scores", "--scores", *tables, "--output", tmp_path / "all.parquet", "--csv", tmp_path / "all.csv")
    summary, csv = pd.read_parquet(tmp_path / "all.parquet"), pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
    assert list(summary) == list(csv)
    assert len(summary) == len(csv) == 3 * len(table)


def test_replicates_and_scores_of_single_cells(run: Run, tmp_path: Path, embedding: Path) -> None:
    labels = pd.Categorical(["A", None, "B", "C"] * (N // 4))
    cells = write_cells(tmp_path / "c.h5ad", label=labels)
    table = score(run, tmp_path, cells, embedding, reference=embedding, settings='{"bootstrap": 12}')
    schema = pq.read_schema(tmp_path / "m_r.parquet")
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
        **dict.fromkeys(("dataset", "model", "cells", "task", "metric"), "string"), "seed": "int64",
        "replicates": "list<element: double>",
    }  # fmt: skip
    keys = ["dataset", "model", "seed", "cells", "task", "metric"]
    replicates = pd.read_parquet(tmp_path / "m_r.parquet").merge(table, on=keys, validate="1:1")
    assert {"total", "bio", "batch", "ilisi_knn", "label_accuracy"} <= set(replicates["metric"])
    assert set(replicates["status"]) == {"ok"}
    for values, value in zip(replicates["replicates"], replicates["value"], strict=True):
        assert len(values) == 12 and np.isfinite(values).all()
        assert abs(values.mean() - value) < 0.15
    single = pq.read_table(tmp_path / "m_c.parquet")
    assert single["cell_id"].to_pylist() == IDS
    assert {"lisi_batch", "lisi_label", "cilisi", "silhouette_label"} <= set(single.column_names)
    assert {str(t) for t in single.schema.types[1:]} == {"float"}
    frame = single.to_pandas()
    assert frame.drop(columns="cell_id")[1::4].isna().all(axis=None)
    median = frame["lisi_batch"].median()
    assert median - 1 == pytest.approx(table.set_index(["cells", "metric"])["value"]["all", "ilisi_knn"], abs=1e-6)
    origin = provenance_of(single)
    assert origin["script"] == "score_integration.py" and origin["settings"]["bootstrap"] == 12


def _schema(path: Path) -> tuple[list[str], list[pa.DataType]]:
    schema = pq.read_schema(path)
    return schema.names, schema.types


def test_equal_inputs_give_equal_bytes(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run("find_neighbors", "--embedding", embedding, "--output", tmp_path / name / "n.parquet")
        run("layout_umap", "--neighbors", tmp_path / name / "n.parquet", "--output", tmp_path / name / "u.parquet")
        run("embed_control", "--counts", cells, "--control", "random", "--output", tmp_path / name / "e.parquet")
    for file in ("n.parquet", "u.parquet", "e.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_neighbours_file(run: Run, tmp_path: Path, embedding: Path) -> None:
    run("find_neighbors", "--embedding", embedding, "--settings", '{"neighbors": 7}', "--code", "abc",
        "--output", tmp_path / "n.parquet")  # fmt: skip
    table = pq.read_table(tmp_path / "n.parquet")
    assert [str(t) for t in table.schema.types] == ["string", "list<element: int32>", "list<element: float>"]
    assert {len(row) for row in table["neighbors"].to_pylist()} == {7}
    origin = provenance_of(table)
    assert origin["code"] == "abc" and origin["settings"] == {"neighbors": 7}


def test_nan_in_an_embedding_reaches_the_table_as_a_reason(
    run: Run, tmp_path: Path, cells: Path, embedding: Path
) -> None:
    ids, points = read_embedding(embedding, "cell_id")
    points = points.copy()
    points[[5, 9]] = np.nan
    write_embedding(tmp_path / "broken.parquet", "cell_id", ids, points, {})
    table = score(run, tmp_path, cells, tmp_path / "broken.parquet")
    assert set(table[table["cells"] == "all"]["status"]) == {"failed"}
    assert table["reason"][0] == f"2 of {N} cells have NaN or infinite values in their embedding"
    lengths = pq.read_table(tmp_path / "n.parquet")["neighbors"].combine_chunks().value_lengths().to_numpy()
    assert list(np.flatnonzero(lengths == 0)) == [5, 9]
    run("layout_umap", "--neighbors", tmp_path / "n.parquet", "--output", tmp_path / "u.parquet")
    assert set(IDS) - set(pd.read_parquet(tmp_path / "u.parquet")["cell_id"]) == {"cell-5", "cell-9"}


def test_unlabelled_data_are_scored(run: Run, tmp_path: Path, embedding: Path) -> None:
    table = score(run, tmp_path, write_cells(tmp_path / "c.h5ad", label=None, split=None), embedding)
    statuses = table.set_index(["cells", "metric"])["status"]
    assert statuses["all", "ilisi_knn"] == "ok"
    assert statuses["all", "nmi_kmeans"] == statuses["held_out", "ilisi_knn"] == "not_applicable"
    assert "failed" not in set(table["status"])


def test_controls(run: Run, tmp_path: Path, cells: Path) -> None:
    obs = anndata.read_h5ad(cells).obs
    for control, column, width in (("random", None, 50), ("label_onehot", "label", 3), ("batch_onehot", "batch", 2)):
        made = []
        for seed in (0, 0, 1):
            run(
                "embed_control",
                "--counts",
                cells,
                "--control",
                control,
                "--seed",
                seed,
                "--output",
                tmp_path / "e.parquet",
            )
            ids, points = read_embedding(tmp_path / "e.parquet", "cell_id")
            assert list(ids) == IDS and points.shape == (N, width)
            made.append(points)
        np.testing.assert_array_equal(made[0], made[1])
        assert not np.array_equal(made[0], made[2])
        if column:
            assert (made[0].argmax(axis=1) == obs[column].cat.codes).all()
            assert np.abs(made[0] - np.eye(width)[obs[column].cat.codes]).std() == pytest.approx(0.05 * 0.6, rel=0.1)


def test_missing_labels_in_a_control_are_no_label_of_their_own(run: Run, tmp_path: Path) -> None:
    labels = pd.Categorical(["A", None, "B"] * (N // 3))
    run("embed_control", "--counts", write_cells(tmp_path / "c.h5ad", label=labels), "--control", "label_onehot",
        "--output", tmp_path / "e.parquet")  # fmt: skip
    points = read_embedding(tmp_path / "e.parquet", "cell_id")[1]
    assert points.shape == (N, 2)
    assert np.abs(points[1::3]).max() < 0.5


def test_layout_of_a_sample(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(1500) % 3
    points = rng.normal(size=(1500, 4)) + 12 * np.eye(4)[groups]
    write_embedding(tmp_path / "e.parquet", "cell_id", [str(i) for i in range(1500)], points, {})
    run("find_neighbors", "--embedding", tmp_path / "e.parquet", "--output", tmp_path / "n.parquet")
    run("layout_umap", "--neighbors", tmp_path / "n.parquet", "--settings", '{"max_cells": 150}',
        "--output", tmp_path / "u.parquet")  # fmt: skip
    table = pd.read_parquet(tmp_path / "u.parquet")
    assert list(table) == ["cell_id", "umap_1", "umap_2"] and len(table) == 150
    places, drawn = table[["umap_1", "umap_2"]].to_numpy(), groups[table["cell_id"].astype(int)]
    assert np.isfinite(places).all()
    # Groups that are far apart stay apart: the nearest drawn cell in the layout is of the same group.
    apart = np.square(places[:, None] - places[None]).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (drawn[apart.argmin(axis=1)] == drawn).mean() > 0.95


def test_heavy_modules_stay_out(tmp_path: Path, cells: Path, embedding: Path) -> None:
    program = (
        "import runpy, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for arguments in map(str.split, sys.argv[2:]):\n"
        "    sys.argv = arguments\n"
        "    runpy.run_path(arguments[0], run_name='__main__')\n"
        f"print([m for m in {FORBIDDEN} if m in sys.modules])\n"
    )
    n, s = tmp_path / "n.parquet", tmp_path / "s.parquet"
    calls = [
        f"find_neighbors.py --embedding {embedding} --output {n}",
        f"embed_control.py --counts {cells} --control random --output {tmp_path / 'c.parquet'}",
        f"score_integration.py --cells {cells} --embedding {embedding} --neighbors {n} --dataset d --model m --seed 0"
        f" --output {s} --replicates {tmp_path / 'r.parquet'} --per-cell {tmp_path / 'p.parquet'}",
        f"layout_umap.py --neighbors {n} --output {tmp_path / 'u.parquet'}",
        f"summarize_scores.py --scores {s} --output {tmp_path / 'a.parquet'} --csv {tmp_path / 'a.csv'}",
    ]
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", program, str(SCRIPTS)]
    done = subprocess.run([*command, *(f"{SCRIPTS}/{c}" for c in calls)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- bad input ------------------------------------------------------------------------------------------------------


def test_other_cells_are_refused(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    ids, points = read_embedding(embedding, "cell_id")
    write_embedding(tmp_path / "fewer.parquet", "cell_id", ids[:-1], points[:-1], {})
    write_embedding(tmp_path / "moved.parquet", "cell_id", ids[::-1], points[::-1], {})
    run("find_neighbors", "--embedding", embedding, "--output", tmp_path / "n.parquet")
    rest = ["--neighbors", tmp_path / "n.parquet", "--dataset", "d", "--model", "m", "--seed", 0]
    rest += ["--output", tmp_path / "s.parquet", "--replicates", tmp_path / "r.parquet"]
    rest += ["--per-cell", tmp_path / "p.parquet"]
    said = run("score_integration", "--cells", cells, "--embedding", tmp_path / "fewer.parquet", *rest, fails=True)
    assert f"fewer.parquet: has {N - 1} cells, {cells} has {N}; both must hold the same cells." in said
    said = run("score_integration", "--cells", cells, "--embedding", tmp_path / "moved.parquet", *rest, fails=True)
    assert f"moved.parquet: cell 0 is 'cell-{N - 1}', in {cells} it is 'cell-0'; both must hold the same" in said
    said = run("score_integration", "--cells", cells, "--embedding", embedding, *rest,
               "--reference", tmp_path / "moved.parquet", fails=True)  # fmt: skip
    assert "moved.parquet: cell 0 is" in said
    assert not (tmp_path / "s.parquet").exists()


def test_wrong_files_are_named(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    out = tmp_path / "o.parquet"
    said = run("find_neighbors", "--embedding", tmp_path / "none.parquet", "--output", out, fails=True)
    assert "none.parquet: no such file." in said
    said = run("find_neighbors", "--embedding", cells, "--output", out, fails=True)
    assert "cells.h5ad: cannot be read as Parquet" in said
    pq.write_table(pa.table({"cell_id": ["a"], "embeding": [[1.0]]}), tmp_path / "typo.parquet")
    said = run("find_neighbors", "--embedding", tmp_path / "typo.parquet", "--output", out, fails=True)
    assert "typo.parquet: column 'embedding' does not exist; did you mean 'embeding'?" in said
    pq.write_table(pa.table({"cell_id": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    said = run("find_neighbors", "--embedding", tmp_path / "ragged.parquet", "--output", out, fails=True)
    assert "ragged.parquet: vectors of unequal length, from 1 to 2 values." in said
    none = pa.table({"cell_id": pa.array([], pa.string()), "embedding": pa.array([], pa.list_(pa.float32()))})
    pq.write_table(none, tmp_path / "empty.parquet")
    said = run("find_neighbors", "--embedding", tmp_path / "empty.parquet", "--output", out, fails=True)
    assert "empty.parquet: the embedding is empty (0 cells)." in said
    said = run("layout_umap", "--neighbors", embedding, "--output", out, fails=True)
    assert "embedding.parquet: column 'neighbors' does not exist" in said
    uneven = {"cell_id": ["a", "b", "c"], "neighbors": [[1], [0, 2], []], "distances": [[1.0], [1.0, 2.0], []]}
    pq.write_table(pa.table(uneven), tmp_path / "uneven.parquet")
    said = run("layout_umap", "--neighbors", tmp_path / "uneven.parquet", "--output", out, fails=True)
    assert "uneven.parquet: the cells have 0 to 2 neighbours; equal numbers are expected." in said
    said = run("embed_control", "--counts", write_cells(tmp_path / "b.h5ad", batch=None), "--control", "random",
               "--output", out, fails=True)  # fmt: skip
    assert "b.h5ad: obs column 'batch' does not exist. Known: label, split." in said
    said = run("score_reconstruction", "--reconstruction", embedding, "--dataset", "d", "--model", "m", "--seed", 0,
               "--output", out, fails=True)  # fmt: skip
    assert "7 problems" in said and "column 'scope' does not exist" in said
    assert not out.exists()


def test_wrong_arguments_are_named(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    out = tmp_path / "o.parquet"
    said = run("embed_control", "--counts", cells, "--control", "labels_onehot", "--output", out, fails=True)
    assert "--control 'labels_onehot' does not exist; did you mean 'label_onehot'?" in said
    said = run("embed_control", "--counts", write_cells(tmp_path / "u.h5ad", label=None), "--control", "label_onehot",
               "--output", out, fails=True)  # fmt: skip
    assert "control 'label_onehot' needs labels" in said and "evaluate.controls" in said
    said = run(
        "find_neighbors", "--embedding", embedding, "--settings", '{"neighbours": 9}', "--output", out, fails=True
    )
    assert "--settings.neighbours: unknown key; did you mean 'neighbors'?" in said
    said = run("layout_umap", "--neighbors", embedding, "--settings", '{"max_cells": 3}', "--output", out, fails=True)
    assert "--settings.max_cells" in said and "100" in said


def test_score_tables_are_checked(run: Run, tmp_path: Path, cells: Path, embedding: Path) -> None:
    score(run, tmp_path, cells, embedding)
    rest = ["--output", tmp_path / "a.parquet", "--csv", tmp_path / "a.csv"]
    twice = [tmp_path / "m.parquet"] * 2
    said = run("summarize_scores", "--scores", *twice, *rest, fails=True)
    assert "a score occurs more than once (dataset d, model m, seed 3, cells all, task integration, metric" in said
    said = run("summarize_scores", "--scores", embedding, tmp_path / "m.parquet", *rest, fails=True)
    assert "embedding.parquet: column 'dataset' does not exist" in said and f"{len(COLUMNS)} problems" in said
    assert not (tmp_path / "a.parquet").exists()
