"""The demo's data are what their README says, and its gene prior covers them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclamp.config.gene_priors import Matching, TextPrior
from sclamp.priors.align import match_to
from sclamp.priors.names import GeneNames
from sclamp.priors.text import read_descriptions

DEMO = Path(__file__).resolve().parents[2] / "workflow" / "demo"


@pytest.fixture(scope="module")
def pancreas() -> ad.AnnData:
    return ad.read_h5ad(DEMO / "pancreas.h5ad")


def test_digests_and_size() -> None:
    stated = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", (DEMO / "README.md").read_text(), re.M))
    ours = {name: digest for digest, name in stated.items() if (DEMO / name).is_file()}
    assert set(ours) == {
        "pancreas.h5ad",
        "gene_descriptions.tsv.gz",
        "aliases.tsv.gz",
        "gene_terms.gmt.gz",
        "markers.tsv",
    }
    for name, digest in ours.items():
        assert hashlib.sha256((DEMO / name).read_bytes()).hexdigest() == digest, name
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 4e6


def test_counts(pancreas: ad.AnnData) -> None:
    assert pancreas.shape == (1937, 4001) and pancreas.X.dtype == np.uint16
    assert pancreas.obs["cell_type"].nunique() == 14 and pancreas.obs["library"].nunique() == 3
    assert pancreas.obs_names.is_unique and pancreas.var_names.is_unique
    assert ((pancreas.X > 0).sum(axis=0) >= 3).all()


def test_every_gene_has_a_description(pancreas: ad.AnnData) -> None:
    names, texts = read_descriptions(TextPrior(source="text", table=str(DEMO / "gene_descriptions.tsv.gz")))
    genes = GeneNames(list(pancreas.var_names))
    match = match_to(genes, names, Matching(aliases=str(DEMO / "aliases.tsv.gz")))
    assert pd.Series(match.way).value_counts().to_dict() == {"symbol": 3831, "alias": 170}
    used = [row for rows in match.rows for row in rows]
    assert sorted(used) == list(range(len(texts))), "one description per gene, and none besides"
    assert texts[list(names.ids).index("INS")].startswith("insulin. ")


def test_markers_are_highest_in_their_cell_type(pancreas: ad.AnnData) -> None:
    markers = pd.read_csv(DEMO / "markers.tsv", sep="\t")
    assert set(markers["cell_type"]) == set(pancreas.obs["cell_type"])
    depth = np.asarray(pancreas.X.sum(axis=1)).ravel()
    counts = pancreas[:, markers["gene"]].X.toarray()
    mean = pd.DataFrame(np.log1p(counts / depth[:, None] * 1e4)).groupby(pancreas.obs["cell_type"].to_numpy()).mean()
    assert mean.idxmax().tolist() == markers["cell_type"].tolist()
