"""score_genes.py as it is called; annotation files, and what is said about bad ones; the demo's annotation."""

from __future__ import annotations

import gzip
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import provenance_of, write_embedding, write_table
from sclamp.data.h5ad import read_cells
from sclamp.evaluate.gene_terms import read_terms
from sclamp.evaluate.gene_vectors import read_gene_vectors
from sclamp.evaluate.genes import MARKERS, MODULE_TERMS, MODULES, read_symbols
from sclamp.evaluate.rows import COLUMNS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/score_genes.py"
DEMO = ROOT / "workflow/demo"
TABLES = {"gene-markers": MARKERS, "modules": MODULES, "module-terms": MODULE_TERMS}
SYMBOLS = pd.Series({"ENSG1": "INS", "ENSG2": "GCG", "ENSG3": "SST"})
Counts = Callable[..., Path]


@pytest.fixture
def call(tmp_path: Path, tiny_counts: Counts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the script in this process on a small data set; options replace the inputs. Returns its stderr."""
    path = tiny_counts(n_cells=200, n_genes=40)
    cells = read_cells(path)
    rng = np.random.default_rng(0)
    write_embedding(tmp_path / "cells.parquet", "cell_id", cells.obs.index, rng.normal(size=(200, 6)), {})
    write_embedding(tmp_path / "genes.parquet", "gene_id", cells.var.index, rng.normal(size=(40, 6)), {})
    symbols = [None, *(f"symbol{i}" for i in range(1, 50))]
    write_table(tmp_path / "table.parquet", {"gene_id": [f"G{i:04d}" for i in range(50)], "symbol": symbols})
    inputs = {"genes": "genes.parquet", "cells": "cells.parquet", "counts": path.name, "gene-table": "table.parquet"}

    def run(out: str = "out", fails: bool = False, **options: object) -> str:
        given = {name: tmp_path / file for name, file in inputs.items()}
        given |= {name: tmp_path / out / f"{name}.parquet" for name in ("output", *TABLES)}
        given |= {"dataset": "d", "model": "m", "seed": 3}
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        arguments = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["score_genes.py", *arguments])
        if fails:
            with pytest.raises(SystemExit) as exit_:
                runpy.run_path(str(SCRIPT), run_name="__main__")
            assert exit_.value.code == 1
            assert not (tmp_path / out).exists()
        else:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().err

    return run


def gmt(path: Path) -> Path:
    lines = [["first", "about it", *(f"SYMBOL{i}" for i in range(1, 12))]]
    lines += [["second", "", *(f"g{i:04d}" for i in range(8, 20))]]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    return path


def test_scores_and_tables_are_written_and_repeat(call, tmp_path: Path) -> None:
    markers = tmp_path / "markers.csv"
    markers.write_text("cell_type,gene\nalpha,symbol1\nbeta,G0002\ngamma,symbol3\n")
    for out in ("out", "again"):
        call(out, terms=gmt(tmp_path / "t.gmt"), markers=markers, code="abc", settings='{"graph_neighbors": 6}')
    scores = pd.read_parquet(tmp_path / "out/output.parquet")
    assert list(scores) == list(COLUMNS) and set(scores["task"]) == {"genes"} and set(scores["seed"]) == {3}
    assert set(scores["status"]) == {"ok"}
    assert list(scores["metric"]) == [
        "marker_auroc", "marker_auroc_shuffled", "marker_precision", "marker_precision_shuffled", "marker_spearman",
        "marker_spearman_shuffled", "given_marker_auroc", "given_marker_auroc_shuffled", "given_marker_precision",
        "given_marker_precision_shuffled", "modules_enriched", "modules_enriched_shuffled", "terms_enriched",
        "terms_enriched_shuffled", "module_davies_bouldin", "module_davies_bouldin_shuffled", "coexpression_spearman",
        "coexpression_neighbors",
    ]  # fmt: skip
    for name, schema in TABLES.items():
        table = pq.read_table(tmp_path / f"out/{name}.parquet")
        assert table.schema.remove_metadata() == schema
        assert (tmp_path / f"out/{name}.parquet").read_bytes() == (tmp_path / f"again/{name}.parquet").read_bytes()
        origin = provenance_of(table)
        assert origin["code"] == "abc" and {"t.gmt", "markers.csv", "genes.parquet"} <= set(origin["inputs"])
    assert pq.read_table(tmp_path / "out/modules.parquet")["gene_id"].to_pylist() == [f"G{i:04d}" for i in range(40)]
    again = pd.read_parquet(tmp_path / "again/output.parquet")
    pd.testing.assert_frame_equal(scores, again)


def test_a_model_without_a_gene_side_gets_reasons_and_empty_tables(call, tmp_path: Path) -> None:
    write_embedding(tmp_path / "none.parquet", "gene_id", [], np.empty((0, 1)), {})
    call(genes=tmp_path / "none.parquet", terms=gmt(tmp_path / "t.gmt"))
    scores = pd.read_parquet(tmp_path / "out/output.parquet")
    assert set(scores["status"]) == {"not_applicable"} and scores["value"].isna().all()
    assert scores.set_index("metric")["reason"]["marker_auroc"] == (
        "the model has no gene side: its gene embedding has no rows"
    )
    for name, schema in TABLES.items():
        table = pq.read_table(tmp_path / f"out/{name}.parquet")
        assert table.num_rows == 0 and table.schema.remove_metadata() == schema


def test_some_of_the_genes_in_another_order(call, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"G{i:04d}" for i in range(30, 10, -1)]
    write_embedding(tmp_path / "part.parquet", "gene_id", ids, rng.normal(size=(20, 6)), {})
    call()
    call("part", genes=tmp_path / "part.parquet")
    every, part = (pd.read_parquet(tmp_path / f"{out}/gene-markers.parquet") for out in ("out", "part"))
    joined = part.merge(every, on=["cell_type", "gene_id"])
    assert len(joined) == len(part) == 60 and set(part["rank"]) == set(range(1, 21))
    np.testing.assert_array_equal(joined["difference_x"], joined["difference_y"])


def test_broken_vectors_are_a_reason_for_all_scores(call, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(40, 6))
    points[3] = np.nan
    write_embedding(tmp_path / "nan.parquet", "gene_id", [f"G{i:04d}" for i in range(40)], points, {})
    call(genes=tmp_path / "nan.parquet", terms=gmt(tmp_path / "t.gmt"))
    scores = pd.read_parquet(tmp_path / "out/output.parquet").set_index("metric")
    own = scores.loc[~scores.index.str.startswith("given")]
    assert set(own["reason"]) == {"1 of 40 genes have NaN or infinite values in their embedding"}
    assert set(own["status"]) == {"failed"}


def test_wrong_inputs_are_named(call, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_embedding(tmp_path / "odd.parquet", "gene_id", ["G0001", "G001"], rng.normal(size=(2, 6)), {})
    said = call(genes=tmp_path / "odd.parquet", fails=True)
    assert "tiny.h5ad: 1 of the 2 embedded genes are missing, the first is 'G001'; did you mean" in said
    pq.write_table(pa.table({"gene": ["a"], "embedding": [[1.0]]}), tmp_path / "typo.parquet")
    assert "typo.parquet: column 'gene_id' does not exist; did you mean 'gene'?" in call(
        genes=tmp_path / "typo.parquet", fails=True
    )
    pq.write_table(
        pa.table({"gene_id": ["a", "a", "b"], "embedding": [[1.0], [1.0, 2.0], [0.0]]}), tmp_path / "u.parquet"
    )
    said = call(genes=tmp_path / "u.parquet", fails=True)
    assert "u.parquet: vectors of 1 to 2 values; equal widths above 0 expected." in said
    assert "u.parquet: 1 genes occur more than once, the first is 'a'." in said
    assert "column 'symbol' does not exist" in call(gene_table=tmp_path / "genes.parquet", fails=True)
    write_embedding(tmp_path / "few.parquet", "cell_id", ["cell0"], rng.normal(size=(1, 6)), {})
    assert "few.parquet: has 1 cells" in call(cells=tmp_path / "few.parquet", fails=True)
    (tmp_path / "m.tsv").write_text("cell_type\tgene\nalpha\tNOWHERE\n")
    assert "m.tsv: none of its genes is among the 50 genes of the data." in call(markers=tmp_path / "m.tsv", fails=True)
    (tmp_path / "t.tsv").write_text("term\tgene\na\tNOWHERE\n")
    assert "t.tsv: 0 of its 1 genes ('NOWHERE', ...) are among the 50 genes" in call(
        terms=tmp_path / "t.tsv", fails=True
    )


# --- annotation files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gmt", "a.gmt.gz", "a.tsv", "a.tsv.gz", "a.csv", "a.txt"])
def test_annotations_are_read_in_every_form(tmp_path: Path, name: str) -> None:
    rows = [("up, down", "Ins"), ("up, down", "ensg3"), ("up, down", "INS"), ("one", "GCG"), ("one", "ELSE")]
    if ".gmt" in name:
        text = "up, down\thttp://x\tIns\tensg3\tINS\t\n\none\t\tGCG\tELSE\n"
    else:
        separator = "," if ".csv" in name else "\t"
        quoted = [[f'"{term}"' if separator in term else term, gene] for term, gene in rows]
        text = "\n".join(separator.join(row) for row in [["term", "gene"], *quoted]) + "\n"
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = read_terms(tmp_path / name, SYMBOLS)
    assert found.to_numpy().tolist() == [["one", "ENSG2"], ["up, down", "ENSG1"], ["up, down", "ENSG3"]]


def test_columns_may_stand_in_any_order_with_others(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("# from somewhere\nid\tgene\tscore\tterm\n1\tSST\t.5\tNA\n2\tGCG\t.5\tb\n")
    assert read_terms(tmp_path / "a.tsv", SYMBOLS).to_numpy().tolist() == [["NA", "ENSG3"], ["b", "ENSG2"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.gmt",
            b"one\tabout\n",
            "a.gmt: line 1 has 2 tab-separated fields; a term, its description",
        ),
        ("a.tsv", b"terms\tgene\n", "column 'terms?' does not exist; did you mean 'terms'"),
        ("a.tsv", b"one\tabout\tINS\tGCG\n", "a GMT file is recognised by its name"),
        ("a.tsv", b"", "column 'term' does not exist. Known: none"),
        (
            "a.tsv",
            b"term\tgene\n",
            r"0 of its 0 genes \(none, \.\.\.\) are among the 3 genes of the data \('INS'",
        ),
        ("a.gmt", b"one\t\tX\tY\n", r"0 of its 2 genes \('X', 'Y', \.\.\.\) are among the 3 genes"),
        ("a.tsv.gz", b"\x1f\x8bnot gzip", "a.tsv.gz: cannot be read as text or gzipped text"),
        ("a.tsv", b"\xff\xfe\x00", "a.tsv: cannot be read as text"),
    ],
)
def test_a_bad_annotation_is_explained(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_terms(tmp_path / name, SYMBOLS)
    with pytest.raises(UserError, match=r"nowhere\.gmt: no such file"):
        read_terms(tmp_path / "nowhere.gmt", SYMBOLS)


def test_the_demos_annotation_names_the_genes_of_its_counts() -> None:
    with gzip.open(DEMO / "gene_terms.gmt.gz", "rt") as handle:
        lines = [line.rstrip("\n").split("\t") for line in handle]
    genes = read_cells_var(DEMO / "pancreas.h5ad")
    assert all(6 <= len(line) - 2 <= 300 and line[1].startswith("GO:") for line in lines)
    named = {gene for line in lines for gene in line[2:]}
    assert named <= set(genes) and len(named) > 3000
    assert len({line[0] for line in lines}) == len(lines) > 4000
    found = read_terms(DEMO / "gene_terms.gmt.gz", pd.Series(genes, genes))
    assert len(found) == sum(len(line) - 2 for line in lines)
    insulin = set(found.loc[found["gene_id"] == "INS", "term"])
    assert "hormone activity" in insulin and "collagen trimer" not in insulin


def read_cells_var(path: Path) -> list[str]:
    import anndata as ad

    return list(ad.read_h5ad(path, backed="r").var_names)


# --- cost -------------------------------------------------------------------------------------------------------------


def test_imports_are_few_and_quick() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import sclamp.evaluate.genes, sclamp.evaluate.gene_terms, faiss, igraph, resource\n"
        "print([m for m in ('torch', 'sklearn', 'scanpy', 'umap', 'numba', 'scipy.stats') if m in sys.modules])"
    )
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code, str(ROOT / "scripts")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.strip() == "[]"
    assert min(seconds) < 2.5


def test_readers_keep_order_and_fill_symbols(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"gene_id": ["b", "a"], "symbol": [None, "A1"]})
    assert read_symbols(tmp_path / "t.parquet").to_dict() == {"b": "b", "a": "A1"}
    write_embedding(tmp_path / "g.parquet", "gene_id", ["b", "a"], np.array([[3.0, 4], [0, 0]]), {})
    genes = read_gene_vectors(tmp_path / "g.parquet")
    np.testing.assert_allclose(genes.unit, [[0.6, 0.8], [0, 0]])
