"""What is collected of the expression: from counts on disk to scores; what is said where it is absent."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclamp.core.files import write_embedding
from sclamp.data.h5ad import CountMap, counts_writer, read_cells
from sclamp.data.moments import lognorm
from sclamp.evaluate import batch_components, cell_cycle, scgraph
from sclamp.evaluate.describe import Described, describe
from sclamp.evaluate.expression import Expression, read_expression

SCRIPTS, GOLDEN = Path(__file__).parents[2] / "scripts", Path(__file__).parents[1] / "golden" / "evaluate"
N = 240
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run a script in this process; returns its stderr."""

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


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expression.npz") as stored:
        return dict(stored)


def write_counts(path: Path, golden: dict[str, np.ndarray], genes: np.ndarray | None = None, **obs: object) -> Path:
    """The golden counts as the files of prepare_cells.py and select_genes.py have them."""
    counts, symbols = golden["counts"].astype(np.float32), golden["symbols"]
    columns = {
        "batch": pd.Categorical(np.array(["x", "y"])[golden["batches"]]),
        "label": pd.Categorical(np.array(["A", "B", "C", "D"])[golden["labels"]]),
        "split": pd.Categorical(np.where(np.arange(N) % 3 == 0, "test", "train")),
        "library_size": counts.sum(axis=1),
    }
    frame = pd.DataFrame(
        {k: v for k, v in {**columns, **obs}.items() if v is not None}, index=[f"cell-{i}" for i in range(N)]
    )
    genes = np.arange(len(symbols)) if genes is None else genes
    matrix = sparse.csr_matrix(counts[:, genes])
    var = pd.DataFrame({"symbol": symbols[genes].astype(object)}, index=[f"G{g}" for g in genes])
    spec = {"recipe": {"target_sum": 1e4, "log1p": True, "clip": 10.0}}
    with counts_writer(path, frame, var, matrix.nnz, np.float32, np.int32, {}, {"spec": spec}) as writer:
        writer.append(matrix)
    return path


def described(folder: Path, golden: dict[str, np.ndarray], genes: np.ndarray | None = None, **obs: object):
    cells, counts = (write_counts(folder / f"{n}.h5ad", golden, g, **obs) for n, g in (("c", None), ("g", genes)))
    return describe(Described(read_cells(cells), CountMap(cells), read_cells(counts), CountMap(counts)))


def test_ingredients_equal_the_references(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    found, more = described(tmp_path, golden)
    assert (more["organism"], len(more["s_genes"]), len(more["g2m_genes"])) == ("mouse", 43, 54)
    np.testing.assert_allclose(found.cycle, golden["cycle"], atol=1e-6)
    assert list(found.share_before["all"]) == ["x", "y"]
    np.testing.assert_allclose(list(found.share_before["all"].values()), golden["before"], atol=1e-5)
    assert found.consensus is not None
    score = scgraph.scgraph(golden["embedding"].astype(float), golden["labels"], ("A", "B", "C", "D"), found.consensus)
    assert score == pytest.approx(float(golden["scgraph"]), abs=1e-5)
    top = [int(g[1:]) for g in more["top_genes"]]
    values = np.log1p(golden["counts"] / golden["counts"].sum(axis=1, keepdims=True) * 1e4)
    np.testing.assert_allclose(found.genes, values[:, top], rtol=1e-5)


def test_variable_genes_equal_scanpys(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    import anndata
    import scanpy

    _, more = described(tmp_path, golden, genes=np.arange(200))
    values = np.log1p(golden["counts"] / golden["counts"].sum(axis=1, keepdims=True) * 1e4)[:, :200]
    frame = pd.DataFrame({"batch": golden["batches"].astype(str)}, index=[str(i) for i in range(N)])
    data = anndata.AnnData(values, obs=frame, var=pd.DataFrame(index=[f"G{g}" for g in range(200)]))
    scanpy.pp.highly_variable_genes(data, flavor="cell_ranger", n_top_genes=100, batch_key="batch")
    assert set(more["top_genes"]) == set(data.var_names[data.var["highly_variable"]])
    part = data[data.obs["batch"] == "0"].copy()
    scanpy.pp.highly_variable_genes(part, flavor="cell_ranger", n_top_genes=50)
    assert set(more["variable_genes"]["x"][:50]) == set(part.var_names[part.var["highly_variable"]])


@pytest.mark.parametrize("dense", [2**24, 1000])
def test_components_equal_those_of_all_values(
    dense: int, tmp_path: Path, golden: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_components, "DENSE_VALUES", dense)  # by cells, by genes in pieces
    counts = CountMap(write_counts(tmp_path / "c.h5ad", golden))
    rows = np.flatnonzero(golden["batches"] == 1)[::2]
    library = golden["counts"].sum(axis=1)
    found = batch_components.component_scores(counts, rows, lognorm(library, 1e4))
    values = np.log1p(golden["counts"][rows] / library[rows, None] * 1e4)
    left, singular, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert found is not None and found.shape == (len(rows), 50)
    np.testing.assert_allclose(np.abs(found), np.abs((left * singular)[:, :50]), atol=1e-6)
    assert batch_components.component_scores(counts, rows[:9], lognorm(library, 1e4)) is None


def test_from_counts_to_scores(run: Run, tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    time = golden["embedding"][:, 0].astype(float)
    cells = write_counts(tmp_path / "c.h5ad", golden, pseudotime=np.where(np.arange(N) % 9 == 0, np.nan, time))
    selected = write_counts(tmp_path / "g.h5ad", golden, np.arange(0, 300, 2))
    for name in ("one", "two"):
        run("describe_expression", "--cells", cells, "--counts", selected, "--code", "abc",
            "--output", tmp_path / f"{name}.json", "--per-cell", tmp_path / f"{name}.parquet")  # fmt: skip
    for kind in ("json", "parquet"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    table = pd.read_parquet(tmp_path / "one.parquet")
    assert list(table) == ["cell_id", "s_score", "g2m_score", "variable_genes"]
    assert json.loads((tmp_path / "one.json").read_text())["provenance"]["code"] == "abc"

    ids = [f"cell-{i}" for i in range(N)]
    write_embedding(tmp_path / "e.parquet", "cell_id", ids, golden["embedding"], {})
    run("find_neighbors", "--embedding", tmp_path / "e.parquet", "--output", tmp_path / "n.parquet")
    run("score_integration", *arguments(tmp_path, cells), "--expression", tmp_path / "one.json",
        "--expression-cells", tmp_path / "one.parquet")  # fmt: skip
    scores = pd.read_parquet(tmp_path / "s.parquet").set_index(["cells", "metric"])
    for metric in ("cell_cycle", "trajectory", "morans_i", "scgraph", "kbet", "ilisi_graph", "clisi_graph"):
        assert scores["status"]["all", metric] == "ok", metric
        assert 0 <= scores["value"]["all", metric] <= 1
    replicates = pd.read_parquet(tmp_path / "r.parquet").query("cells == 'all'").set_index("metric")["replicates"]
    for metric in ("cell_cycle", "morans_i", "kbet"):
        assert np.std(replicates[metric]) > 0, metric
        assert abs(np.mean(replicates[metric]) - scores["value"]["all", metric]) < 0.1, metric
    assert "scgraph" not in replicates


def arguments(folder: Path, cells: Path) -> list[object]:
    return [
        "--cells", cells, "--embedding", folder / "e.parquet", "--neighbors", folder / "n.parquet", "--dataset", "d",
        "--model", "m", "--seed", 0, "--output", folder / "s.parquet", "--replicates", folder / "r.parquet",
        "--per-cell", folder / "p.parquet", "--settings", '{"bootstrap": 5}',
    ]  # fmt: skip


# --- where something is absent --------------------------------------------------------------------------------------


def test_unlabelled_cells_and_batches(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    found, _ = described(tmp_path, golden, label=None, split=None)
    assert found.reasons == {"scgraph": "no label column"} and found.consensus is None
    assert found.share_before["held_out"] == {}
    missing = pd.Categorical(np.where(np.arange(N) % 4 == 0, None, "x"), categories=["x", "unused"])
    found, more = described(tmp_path, golden, batch=missing)
    assert list(more["variable_genes"]) == list(found.share_before["all"]) == ["x"]
    assert found.cycle is not None
    np.testing.assert_array_equal(np.isnan(found.cycle[:, 0]), np.arange(N) % 4 == 0)


def test_small_batches_have_no_consensus(tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    found, _ = described(tmp_path, golden, batch=pd.Categorical((np.arange(N) // 8).astype(str)))
    assert found.reasons == {"scgraph": "no batch has 100 cells"}
    assert found.share_before == {"all": {}, "held_out": {}}


@pytest.mark.parametrize(
    ("symbols", "organism", "reason"),
    [
        ([*cell_cycle.S_GENES.split(), *cell_cycle.G2M_GENES.split(), "A", "B", "C"], "human", ""),
        (
            [g.capitalize() for g in [*cell_cycle.S_GENES.split()[:6], *cell_cycle.G2M_GENES.split()]],
            "mouse",
            "60 genes",
        ),
        (["ENSG1", "ENSG2", *cell_cycle.S_GENES.split()], "human", "43 of S phase and 0 of G2/M are measured"),
    ],
)
def test_organism_is_told_by_the_spelling(symbols: list[str], organism: str, reason: str) -> None:
    found = cell_cycle.find_cycle_genes(np.array(symbols, dtype=object))
    assert found.organism == organism
    assert reason in found.reason and bool(reason) == bool(found.reason)
    assert [symbols[g] for g in found.s][:3] == [symbols[symbols.index(s)] for s in symbols if s.upper() in
                                                 cell_cycle.S_GENES.split()][:3]  # fmt: skip


def test_other_cells_genes_and_files_are_refused(run: Run, tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    cells, selected = write_counts(tmp_path / "c.h5ad", golden), write_counts(tmp_path / "g.h5ad", golden)
    outputs = ["--output", tmp_path / "o.json", "--per-cell", tmp_path / "o.parquet"]
    few = {**golden, "symbols": golden["symbols"][:100], "counts": golden["counts"][:, :100]}
    small = write_counts(tmp_path / "small.h5ad", few)
    said = run("describe_expression", "--cells", small, "--counts", selected, *outputs, fails=True)
    assert f"{selected}: gene 'G100' is not among those of {small}." in said
    moved = write_counts(tmp_path / "m.h5ad", golden)
    import h5py

    with h5py.File(moved, "r+") as file:
        file["obs/_index"][0] = "other"
    said = run("describe_expression", "--cells", cells, "--counts", moved, *outputs, fails=True)
    assert f"{moved}: its cells are not those of {cells}." in said
    assert not (tmp_path / "o.json").exists()

    run("describe_expression", "--cells", cells, "--counts", selected, *outputs)
    write_embedding(tmp_path / "e.parquet", "cell_id", [f"cell-{i}" for i in range(N)], golden["embedding"], {})
    run("find_neighbors", "--embedding", tmp_path / "e.parquet", "--output", tmp_path / "n.parquet")
    common = arguments(tmp_path, cells)
    said = run("score_integration", *common, "--expression", tmp_path / "o.json", fails=True)
    assert "--expression and --expression-cells belong together; give both or none." in said
    given = ["--expression-cells", tmp_path / "o.parquet", "--expression"]
    said = run("score_integration", *common, *given, tmp_path / "none.json", fails=True)
    assert "none.json: no such file." in said
    (tmp_path / "odd.json").write_text("{")
    said = run("score_integration", *common, *given, tmp_path / "odd.json", fails=True)
    assert "odd.json: not valid JSON" in said
    (tmp_path / "other.json").write_text('{"format": 9}')
    said = run("score_integration", *common, *given, tmp_path / "other.json", fails=True)
    assert "other.json: not a file of describe_expression.py (format 1)." in said
    said = run("score_integration", *common, "--expression", tmp_path / "o.json", "--expression-cells",
               tmp_path / "e.parquet", fails=True)  # fmt: skip
    assert "e.parquet: column 's_score' does not exist" in said and "3 problems" in said
    time = write_counts(tmp_path / "t.h5ad", golden, pseudotime=["late"] * N)
    assert "t.h5ad: obs column 'pseudotime' is not numeric" in run(
        "score_integration", *arguments(tmp_path, time), fails=True
    )


def test_absent_parts_survive_reading(run: Run, tmp_path: Path, golden: dict[str, np.ndarray]) -> None:
    none = {**golden, "symbols": np.array([f"Gene{i}" for i in range(300)])}
    cells = write_counts(tmp_path / "c.h5ad", none, batch=pd.Categorical((np.arange(N) // 8).astype(str)))
    run("describe_expression", "--cells", cells, "--counts", cells, "--output", tmp_path / "o.json",
        "--per-cell", tmp_path / "o.parquet")  # fmt: skip
    ids, found = read_expression(tmp_path / "o.json", tmp_path / "o.parquet")
    assert len(ids) == N
    assert found.cycle is None and found.consensus is None and set(found.reasons) == {"cell_cycle", "scgraph"}
    assert found.genes is not None and found.of(np.arange(3)).genes.shape == (3, 100)
    assert Expression().of(np.arange(3)).genes is None
