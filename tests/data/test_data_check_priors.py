"""How many genes a prior covers, told from its ids alone."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sclamp.core.files import write_table

NAMES = [f"GENE{i}" for i in range(1, 36)]


def text_table(folder: Path) -> dict:
    with gzip.open(folder / "t.tsv.gz", "wt") as file:
        file.write("symbol\ttext\n" + "".join(f"{name}\tx\n" for name in NAMES))
    return {"source": "text", "table": str(folder / "t.tsv.gz")}


def fasta(folder: Path) -> dict:
    (folder / "p.fa").write_text("".join(f">{name} a protein\nMKV\nLLA\n" for name in NAMES))
    return {"source": "protein", "fasta": str(folder / "p.fa")}


def parquet(folder: Path) -> dict:
    write_table(folder / "e.parquet", {"gene_id": NAMES, "embedding": [[1.0]] * 35})
    return {"source": "file", "path": str(folder / "e.parquet")}


def csv(folder: Path) -> dict:
    ids = [f"ENSG{i:011d}" for i in range(1, 36)]  # without version, as the data's column `ensembl` has one
    pd.DataFrame({"gene_id": ids, "d1": 0.5}).to_csv(folder / "e.csv", index=False)
    return {"source": "file", "path": str(folder / "e.csv")}


def npz(folder: Path) -> dict:
    np.savez(folder / "e.npz", gene_id=np.array(NAMES), embedding=np.ones((35, 2)))
    return {"source": "file", "path": str(folder / "e.npz")}


@pytest.mark.parametrize("make", [text_table, fasta, parquet, csv, npz])
@pytest.mark.parametrize("min_coverage", [0.5, 0.6])
def test_coverage_of_priors(tmp_path, raw, raw_file, make, min_coverage, check, said):
    prior = make(tmp_path) | {"matching": {"min_coverage": min_coverage}}
    path = raw_file(lambda data: data.var.insert(0, "symbol", data.var_names.astype(object)))
    report = check(path, priors={"p": prior}, gene_ids="ensembl")
    counts = raw.X.toarray().sum(0)
    covered = f"50.0% of the genes, with {counts[1:36].sum() / counts.sum():.1%} of the counts"
    if min_coverage == 0.5:
        assert f"covers {covered}" in said(report, "ok")
    else:
        asked = "min_coverage 0.6 is asked of the selected genes"
        assert said(report, "warning")[-1] == f"gene_priors.p: covers {covered}; {asked}."


def test_priors_of_other_genes_and_broken_ones(tmp_path, raw_file, check, said):
    (tmp_path / "mouse.csv").write_text("gene_id,d1\nActb,1\nGapdh,2\n")
    (tmp_path / "columns.csv").write_text("gene,d1\nGENE1,1\n")
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "vectors.pkl").write_bytes(b"x")
    np.savez(tmp_path / "names.npz", genes=np.array(["GENE1"]))
    files = ("mouse.csv", "columns.csv", "broken.parquet", "vectors.pkl", "names.npz")
    priors = {name.partition(".")[0]: {"source": "file", "path": str(tmp_path / name)} for name in files}
    priors |= {"control": {"source": "shuffled", "of": "mouse"}, "own": {"source": "expression"}}
    report = check(raw_file(), priors=priors)
    errors = "\n".join(said(report, "error"))
    assert (
        "gene_priors.mouse: none of its 2 genes (such as Actb, Gapdh) is in the data (such as MT-CO1, GENE1, GENE2)"
        in errors
    )
    assert "columns.csv: id_column: column 'gene_id' does not exist; did you mean 'gene'? Known: gene, d1." in errors
    assert "broken.parquet: cannot be read as a table" in errors
    assert "names.npz: id_column: array 'gene_id' does not exist; did you mean 'genes'? Known: genes." in errors
    skipped = said(report, "skipped")
    assert "its genes are not known before it is downloaded or read as a whole" in skipped
    assert "source shuffled: made from the data or from another prior" in skipped


def test_orthologs_count(tmp_path, raw_file, check, said):
    (tmp_path / "mouse.csv").write_text("gene_id,d1\nGene1,1\nGene2,1\n")
    (tmp_path / "o.tsv").write_text("gene\tprior_gene\nGENE1\tGene1\nGENE2\tGene2\n")
    matching = {"orthologs": str(tmp_path / "o.tsv"), "min_coverage": 0.0}
    prior = {"source": "file", "path": str(tmp_path / "mouse.csv"), "matching": matching}
    report = check(raw_file(), priors={"p": prior})
    n_genes = int(said(report, "ok")[1].split()[0])
    assert f"covers {2 / n_genes:.1%} of the genes" in said(report, "ok")[-1]


def test_a_missing_table_of_orthologs(tmp_path, raw_file, check, said):
    (tmp_path / "mouse.csv").write_text("gene_id,d1\nGene1,1\n")
    prior = {"source": "file", "path": str(tmp_path / "mouse.csv"), "matching": {"orthologs": "none.tsv"}}
    report = check(raw_file(), priors={"p": prior})
    assert "gene_priors.p.matching: 'none.tsv' does not exist." in said(report, "error")
