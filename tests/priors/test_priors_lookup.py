"""The names of a prior's genes, read without its vectors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.priors.lookup import prior_names
from sclamp.priors.settings import read_prior_settings

IDS, ENSEMBL = ["INS", "NA"], ["ENSG00000254647", ""]


def names(source: str, **settings: Any) -> Any:
    return prior_names(read_prior_settings({"source": source, **settings}))


def test_every_source(tmp_path: Path) -> None:
    frame = pd.DataFrame({"symbol": IDS, "ensembl": ENSEMBL, "text": ["a", "b"], "x": [1.0, 2.0]})
    frame.to_csv(tmp_path / "t.tsv.gz", sep="\t", index=False)
    frame.set_index("symbol").to_parquet(tmp_path / "t.parquet")  # pandas keeps an index as a column
    np.savez(tmp_path / "t.npz", gene_id=np.array(IDS))
    (tmp_path / "v.json").write_text(json.dumps({"<pad>": 0, "INS": 1, "NA": 2}))
    (tmp_path / "m.pt").write_bytes(b"")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({}))
    (tmp_path / "p.fa").write_text(">x GN=INS\nMAL\n>y GN=NA\nMAL\n")
    for found in (
        names("text", table=str(tmp_path / "t.tsv.gz")),
        names("file", path=str(tmp_path / "t.parquet"), id_column="symbol"),
        names("file", path=str(tmp_path / "t.tsv.gz"), id_column="symbol"),
    ):
        assert list(found.ids) == IDS and list(found.ensembl) == ENSEMBL
    for found in (
        names("file", path=str(tmp_path / "t.npz")),
        names("file", path=str(tmp_path / "m.pt"), vocabulary=str(tmp_path / "v.json")),
        names("protein", fasta=str(tmp_path / "p.fa"), gene_tag="GN="),
    ):
        assert list(found.ids) == IDS
    assert names("file", path=str(tmp_path / "p.pkl")) is None
    assert names("onehot") is None and names("shuffled", of="text") is None


def test_errors(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("gene\ttext\nINS\ta\n")
    with pytest.raises(UserError, match="id_column: column 'symbol' does not exist"):
        names("text", table=str(tmp_path / "t.tsv"))
    with pytest.raises(UserError, match=r"none\.npz: no such file"):
        names("file", path=str(tmp_path / "none.npz"))
