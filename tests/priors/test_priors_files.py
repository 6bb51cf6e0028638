"""Gene priors from files of others: every format gives the same vectors, every damage its message."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.config.gene_priors import FilePrior
from sclamp.core.errors import UserError
from sclamp.priors.files import file_vectors
from sclamp.priors.vectors import GeneVectors, read_vectors, write_vectors

IDS = ["INS", "NA", "1", "C1orf1"]
VECTORS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def load(path: Path, **settings: Any) -> GeneVectors:
    return file_vectors(FilePrior(source="file", path=str(path), **settings))


def problems(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **settings)
    return str(caught.value)


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"gene_id": IDS, "embedding": VECTORS.astype(float).tolist()}), path)


def fixed_size_parquet(path: Path) -> None:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), 3)
    pq.write_table(pa.table({"gene_id": IDS, "embedding": flat}), path)


def delimited(separator: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        frame = pd.DataFrame(VECTORS, columns=["x", "y", "z"])
        frame.insert(0, "gene_id", IDS)
        text = frame.to_csv(sep=separator, index=False).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)

    return write


def npz(path: Path) -> None:
    np.savez(path, gene_id=np.array(IDS), embedding=VECTORS)


FORMATS = [
    ("p.parquet", parquet),
    ("p.pq", fixed_size_parquet),
    ("p.csv", delimited(",")),
    ("p.tsv", delimited("\t")),
    ("p.tsv.gz", delimited("\t")),
    ("p.npz", npz),
]


@pytest.mark.parametrize(("name", "write"), FORMATS)
def test_formats(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    genes = load(tmp_path / name)
    assert list(genes.names.ids) == IDS
    assert genes.vectors.dtype == np.float32 and np.allclose(genes.vectors, VECTORS, atol=1e-6)


def test_named_columns_and_further_identifiers(tmp_path: Path) -> None:
    ensembl = [f"ENSG0000000000{i}" for i in range(4)]
    pq.write_table(pa.table({"ensembl": ensembl, "symbol": IDS, "v": VECTORS.tolist()}), tmp_path / "p.parquet")
    genes = load(tmp_path / "p.parquet", id_column="ensembl", embedding_column="v")
    assert list(genes.names.ids) == ensembl and list(genes.names.symbols) == IDS and not genes.names.ensembl
    table = pd.DataFrame(VECTORS).assign(symbol=IDS, ensembl=ensembl)
    table.to_csv(tmp_path / "p.csv", index=False)
    genes = load(tmp_path / "p.csv", id_column="symbol")
    assert list(genes.names.ensembl) == ensembl and genes.vectors.shape == (4, 3)
    write_vectors(tmp_path / "w.parquet", genes, {})
    assert pq.read_schema(tmp_path / "w.parquet").names == ["gene_id", "ensembl", "embedding"]
    assert read_vectors(tmp_path / "w.parquet").names == genes.names


def test_digest(tmp_path: Path) -> None:
    parquet(tmp_path / "p.parquet")
    digest = hashlib.sha256((tmp_path / "p.parquet").read_bytes()).hexdigest()
    assert len(load(tmp_path / "p.parquet", sha256=digest).names) == 4
    assert f"sha256 is {digest}, expected {'0' * 64}" in problems(tmp_path / "p.parquet", sha256="0" * 64)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    assert "none.parquet: no such file" in problems(tmp_path / "none.parquet")
    assert "a folder, not a file" in problems(tmp_path)
    (tmp_path / "p.xyz").write_text("")
    assert "extension '.xyz' is not known. Known: .parquet, .tsv" in problems(tmp_path / "p.xyz")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 cut")
    assert "p.parquet: cannot be read as Parquet" in problems(tmp_path / "p.parquet")
    (tmp_path / "p.npz").write_bytes(b"PK cut")
    assert "p.npz: cannot be read as npz" in problems(tmp_path / "p.npz")


def test_all_problems_of_the_vectors_at_once(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], [1.0], [float("nan"), 0.0], [float("inf"), 0.0]]
    pq.write_table(pa.table({"gene_id": ["A", "B", "C", ""], "embedding": rows}), tmp_path / "p.parquet")
    text = problems(tmp_path / "p.parquet")
    assert "1 rows have no gene identifier; the first is row 4" in text
    assert "vectors of unequal length: 'A' has 2 values, 'B' has 1" in text
    assert "2 vectors hold NaN or infinite values; the first is that of 'C'" in text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"gene": ["A"], "embedding": [[1.0]]}, "id_column: column 'gene_id' does not exist; did you mean 'gene'?"),
        ({"gene_id": ["A"], "embeding": [[1.0]]}, "column 'embedding' does not exist; did you mean 'embeding'?"),
        ({"gene_id": ["A"], "embedding": [1.0]}, "column 'embedding' holds double; lists of numbers are expected"),
        (
            {"gene_id": ["A", "B"], "embedding": [[1.0], None]},
            "1 vectors are not lists of numbers; the first is that of 'B'",
        ),
        ({"gene_id": ["A"], "embedding": pa.array([[]], pa.list_(pa.float32()))}, "vectors are empty"),
        ({"gene_id": pa.array([], pa.string()), "embedding": pa.array([], pa.list_(pa.float32()))}, "holds no genes"),
        ({"gene_id": ["A"], "embedding": [["x"]]}, "1 vectors are not lists of numbers"),
    ],
)
def test_parquet_of_the_wrong_shape(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert message in problems(tmp_path / "p.parquet")


def test_table_with_words_or_gaps(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("gene_id,x,name\nA,1,insulin\n")
    assert "1 columns besides 'gene_id' are not numeric: 'name'" in problems(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("gene_id,x,y\nA,1,2\nB,,2\n")
    assert "1 vectors hold NaN or infinite values; the first is that of 'B'" in problems(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("gene_id,x\nA,1,2,3\nB,2\n")
    assert "cannot be read as a table" in problems(tmp_path / "p.csv", id_column="gene_id")


def test_npz_of_the_wrong_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", genes=np.array(IDS), embedding=VECTORS)
    assert "id_column: array 'gene_id' does not exist" in problems(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", gene_id=np.array(IDS[:2]), embedding=VECTORS)
    assert "ids (n) and vectors (n, width) are expected, found gene_id (2,), embedding (4, 3)" in problems(
        tmp_path / "p.npz"
    )
    np.savez(tmp_path / "p.npz", gene_id=np.array(IDS, dtype=object), embedding=VECTORS)
    assert "strings must be saved as text, not as objects" in problems(tmp_path / "p.npz")


def checkpoint(tmp_path: Path, content: Any, vocabulary: Any) -> dict[str, Any]:
    import torch

    torch.save(content, tmp_path / "model.pt")
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    return {"vocabulary": str(tmp_path / "vocab.json")}


def test_checkpoint(tmp_path: Path) -> None:
    import torch

    table = torch.arange(12.0).reshape(6, 2)
    content = {"model": {"gene.weight": table, "small": torch.ones(3, 2), "bias": torch.ones(6)}, "epoch": 3}
    vocabulary = {"<pad>": 0, "INS": 4, "GCG": 1, "SST": 5}
    settings = checkpoint(tmp_path, content, vocabulary)
    genes = load(tmp_path / "model.pt", **settings)
    assert dict(zip(genes.names.ids, genes.vectors.tolist(), strict=True)) == {
        "INS": [8, 9],
        "GCG": [2, 3],
        "SST": [10, 11],
    }
    assert "tensor: matrix 'gene.wieght' does not exist; did you mean 'model.gene.weight'?" in problems(
        tmp_path / "model.pt", tensor="gene.wieght", **settings
    )
    outside = "2 genes point beyond the table: 'INS' has row 4, the table has 3 rows"
    assert outside in problems(tmp_path / "model.pt", tensor="model.small", **settings)
    assert "`vocabulary` must name a JSON of gene -> row" in problems(tmp_path / "model.pt")


def test_checkpoint_with_several_tables_needs_a_name(tmp_path: Path) -> None:
    import torch

    settings = checkpoint(tmp_path, {"a": torch.ones(3, 2), "b": torch.zeros(3, 4)}, ["INS", "GCG", "SST"])
    text = problems(tmp_path / "model.pt", **settings)
    assert (
        "2 matrices have 3 rows or more; `tensor` must name the embedding table. Matrices: a (3, 2), b (3, 4)" in text
    )
    assert load(tmp_path / "model.pt", tensor="b", **settings).vectors.shape == (3, 4)


class Attack:
    """Pickled into a checkpoint, it would write a file when loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    settings = checkpoint(tmp_path, {"x": Attack(tmp_path / "hacked")}, ["A"])
    assert "holds more than tensors, which is not loaded, for safety" in problems(tmp_path / "model.pt", **settings)
    assert not (tmp_path / "hacked").exists()


def test_truncated_checkpoint_and_bad_vocabulary(tmp_path: Path) -> None:
    import torch

    settings = checkpoint(tmp_path, {"a": torch.ones(3, 2)}, {"INS": "first"})
    assert "vocab.json: a mapping of gene -> row (or a list of genes) is expected" in problems(
        tmp_path / "model.pt", **settings
    )
    (tmp_path / "vocab.json").write_text("{")
    assert "vocab.json: not valid JSON" in problems(tmp_path / "model.pt", **settings)
    (tmp_path / "vocab.json").write_text('["INS"]')
    data = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(data[: len(data) // 2])
    assert "model.pt: damaged" in problems(tmp_path / "model.pt", **settings)
    assert "none.json: no such file" in problems(tmp_path / "model.pt", vocabulary=str(tmp_path / "none.json"))


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": VECTORS}, tmp_path / "m.safetensors")
    (tmp_path / "v.json").write_text(json.dumps(IDS))
    genes = load(tmp_path / "m.safetensors", vocabulary=str(tmp_path / "v.json"))
    assert list(genes.names.ids) == IDS and np.array_equal(genes.vectors, VECTORS)
    (tmp_path / "m.safetensors").write_bytes(b"\x00\x01")
    assert "cannot be read as safetensors" in problems(tmp_path / "m.safetensors", vocabulary=str(tmp_path / "v.json"))
