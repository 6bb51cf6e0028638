"""The two scripts on small and broken inputs, from a shell's point of view."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import write_embedding, write_table
from sclamp.priors.vectors import read_vectors

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
Run = Callable[..., None]


@pytest.fixture
def genes_and_counts(tiny_counts: Callable[..., Path], selection: Callable[..., Path]) -> list[str | Path]:
    ids = [f"G{i:04d}" for i in range(60)]
    return ["--genes", selection(ids, unselected=["U1"]), "--counts", tiny_counts()]


def outputs(folder: Path, name: str) -> list[str | Path]:
    return ["--output", folder / f"{name}.parquet", "--report", folder / f"{name}.json"]


def test_from_a_file_to_matched_vectors_and_their_controls(
    tmp_path: Path, run_script: Run, genes_and_counts: list[str | Path]
) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    write_embedding(tmp_path / "mine.parquet", "gene_id", [f"G{i:04d}" for i in range(50)][::-1], vectors, {})
    settings = {"source": "file", "path": str(tmp_path / "mine.parquet"), "matching": {"missing": "zero"}}
    built = ("--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json")
    run_script("build_gene_prior", settings, *built)
    run_script(
        "match_gene_prior", settings, "--prior", tmp_path / "p.parquet", *genes_and_counts, *outputs(tmp_path, "m")
    )
    table = pq.read_table(tmp_path / "m.parquet").to_pydict()
    assert table["gene_id"] == [f"G{i:04d}" for i in range(60)]
    assert table["matched_by"] == ["symbol"] * 50 + ["filled"] * 10
    assert np.allclose(table["embedding"][:50], vectors[::-1]) and not np.any(table["embedding"][50:])
    report = json.loads((tmp_path / "m.json").read_text())
    assert (report["source"], report["n_found"], report["width"], len(report["missing"])) == ("file", 50, 4, 10)

    for source in ("shuffled", "gaussian"):
        control = {"source": source, "of": "mine"}
        run_script(
            "match_gene_prior", control, "--of", tmp_path / "m.parquet", *genes_and_counts, *outputs(tmp_path, source)
        )
        other = pq.read_table(tmp_path / f"{source}.parquet").to_pydict()
        assert other["gene_id"] == table["gene_id"] and other["matched_by"] == table["matched_by"]
        assert not np.any(other["embedding"][50:]), "filled genes keep their filling"
        assert np.allclose(np.mean(other["embedding"][:50], 0), vectors.mean(0), atol=1e-5)
        moved = np.abs(np.array(other["embedding"][:50]) - table["embedding"][:50]).max(1) > 1e-6
        assert moved.all()
        globally = ("--output", tmp_path / "g.parquet", "--sidecar", tmp_path / "g.json")
        run_script("build_gene_prior", control, "--of", tmp_path / "p.parquet", *globally)
        assert read_vectors(tmp_path / "g.parquet").names == read_vectors(tmp_path / "p.parquet").names
    onehot = {"source": "onehot", "of": "mine"}
    run_script("match_gene_prior", onehot, "--of", tmp_path / "m.parquet", *genes_and_counts, *outputs(tmp_path, "o"))
    axes = pq.read_table(tmp_path / "o.parquet").to_pydict()
    assert axes["gene_id"] == table["gene_id"] and axes["matched_by"] == table["matched_by"]
    assert np.array_equal(axes["embedding"], np.vstack([np.eye(50), np.zeros((10, 50))])), "only the prior's own genes"


def test_priors_of_the_data_itself(tmp_path: Path, run_script: Run, genes_and_counts: list[str | Path]) -> None:
    for settings, width in [({"source": "onehot"}, 60), ({"source": "expression", "width": 7}, 7)]:
        run_script("match_gene_prior", settings, *genes_and_counts, *outputs(tmp_path, "m"))
        table = pq.read_table(tmp_path / "m.parquet").to_pydict()
        assert np.shape(table["embedding"]) == (60, width) and set(table["matched_by"]) == {"own"}
        assert json.loads((tmp_path / "m.json").read_text())["share_of_genes"] == 1.0
        first = (tmp_path / "m.parquet").read_bytes()
        run_script("match_gene_prior", settings, *genes_and_counts, *outputs(tmp_path, "m"))
        assert (tmp_path / "m.parquet").read_bytes() == first


def test_expression_of_other_genes(
    tmp_path: Path, run_script: Run, tiny_counts: Callable[..., Path], selection: Callable[..., Path]
) -> None:
    arguments = ["--genes", selection(["A", "B"]), "--counts", tiny_counts()]
    with pytest.raises(UserError, match="holds other genes, or another order, than the table of the selection"):
        run_script("match_gene_prior", {"source": "expression"}, *arguments, *outputs(tmp_path, "m"))


def test_repeated_genes_are_noted_by_build_and_decided_by_match(
    tmp_path: Path, run_script: Run, genes_and_counts: list[str | Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[float(i), 1.0] for i in range(61)]
    write_table(tmp_path / "mine.parquet", {"gene_id": ["G0000"] + [f"G{i:04d}" for i in range(60)], "embedding": rows})
    settings = {"source": "file", "path": str(tmp_path / "mine.parquet")}
    run_script("build_gene_prior", settings, "--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json")
    assert "1 genes occur more than once ('G0000'); matching.duplicates says" in capsys.readouterr().err
    arguments = ["--prior", tmp_path / "p.parquet", *genes_and_counts, *outputs(tmp_path, "m")]
    with pytest.raises(
        UserError, match=r"1 genes have several vectors \('G0000'\); matching.duplicates: first or mean"
    ):
        run_script("match_gene_prior", settings, *arguments)
    run_script("match_gene_prior", settings | {"matching": {"duplicates": "mean"}}, *arguments)
    assert pq.read_table(tmp_path / "m.parquet")["embedding"][0].as_py() == [0.5, 1.0]
    assert json.loads((tmp_path / "m.json").read_text())["genes_with_several_vectors"] == ["G0000"]


@pytest.mark.parametrize(
    ("script", "settings", "extra", "message"),
    [
        ("build", {"source": "txt"}, [], "--settings: source 'txt' does not exist; did you mean 'text'?"),
        ("build", {}, [], "--settings: source '' does not exist"),
        ("build", {"source": "text"}, [], "--settings.table: is missing"),
        (
            "build",
            {"source": "file", "path": "x", "sha": "y"},
            [],
            "--settings.sha: unknown key; did you mean 'sha256'?",
        ),
        ("build", {"source": "onehot"}, [], "made from each data set's own genes: use match_gene_prior.py"),
        (
            "build",
            {"source": "shuffled", "of": "text"},
            [],
            "--of: source shuffled needs the Parquet file of gene prior 'text'",
        ),
        ("build", {"source": "file", "path": "none.parquet"}, [], "none.parquet: no such file"),
        (
            "match",
            {"source": "file", "path": "x.parquet"},
            [],
            "source file: --prior (or --of, for a control) is required",
        ),
        ("match", {"source": "file", "path": "x.parquet"}, ["--prior", "none.parquet"], "none.parquet: no such file"),
        (
            "match",
            {"source": "expression"},
            ["--of", "m.parquet"],
            "--of: is for sources shuffled, gaussian and onehot, not for expression",
        ),
    ],
)
def test_wrong_settings(
    tmp_path: Path, run_script: Run, genes_and_counts: list[str | Path], script: str, settings: dict[str, str],
    extra: list[str], message: str,
) -> None:  # fmt: skip
    if script == "build":
        arguments = ["--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json"]
    else:
        arguments = [*genes_and_counts, *outputs(tmp_path, "m")]
    with pytest.raises(UserError) as caught:
        run_script(f"{script}_gene_prior", settings, *arguments, *extra)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("[pm].*"))


def test_failure_ends_with_status_1_and_no_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "build_gene_prior.py"),
        "--settings",
        '{"source": "file", "path": "none.npz"}',
    ]
    command += ["--output", str(tmp_path / "p.parquet"), "--sidecar", str(tmp_path / "p.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "build_gene_prior.py: 1 problem\n  - none.npz: no such file.\n"


def test_matching_and_plain_files_import_nothing_heavy(tmp_path: Path, genes_and_counts: list[str | Path]) -> None:
    code = (
        "import sys, runpy\n"
        "script = sys.argv.pop(1)\n"
        "sys.path.insert(0, script.rpartition('/')[0])\n"
        "runpy.run_path(script, run_name='__main__')\n"
        "bad = {'torch', 'sklearn', 'scanpy', 'transformers', 'sentence_transformers', 'numba'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    write_table(tmp_path / "mine.parquet", {"gene_id": [f"G{i:04d}" for i in range(60)], "embedding": [[1.0]] * 60})
    settings = json.dumps({"source": "file", "path": str(tmp_path / "mine.parquet")})
    build = [SCRIPTS / "build_gene_prior.py", "--settings", settings, "--output", tmp_path / "p.parquet"]
    build += ["--sidecar", tmp_path / "p.json"]
    match = [
        SCRIPTS / "match_gene_prior.py",
        "--settings",
        settings,
        "--prior",
        tmp_path / "p.parquet",
        *genes_and_counts,
    ]
    match += outputs(tmp_path, "m")
    own = [SCRIPTS / "match_gene_prior.py", "--settings", '{"source": "expression"}', *genes_and_counts]
    own += outputs(tmp_path, "m")
    for command in (build, match, own):
        subprocess.run([sys.executable, "-c", code, *map(str, command)], check=True)
