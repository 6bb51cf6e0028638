"""Damaged gene priors and tables of genes, in every format that is read."""

from __future__ import annotations

import json

import pytest
from damage import Case, try_damages
from small_files import GENES, write_prior

pytestmark = pytest.mark.xdist_group("trial worker")
CHECKED = {"prior.csv.gz", "prior.npz"}  # formats whose every byte of data has a checksum
TABLES = {
    "aliases.tsv": "alias\tsymbol\n" + "".join(f"old_{g}\t{g}\n" for g in GENES),
    "descriptions.csv": "symbol,text\n" + "".join(f"{g},the gene number {n}\n" for n, g in enumerate(GENES)),
    "terms.gmt": "".join(f"term_{t}\tabout\t" + "\t".join(GENES[t::6]) + "\n" for t in range(6)),
    "markers.csv": "cell_type,gene\n" + "".join(f"type_{n % 3},{g}\n" for n, g in enumerate(GENES)),
    "proteins.fasta": "".join(f">{g} a protein\nMKVL{'ACDEFGHIKL'[n % 10]}AA\n" for n, g in enumerate(GENES)),
    "genes.txt": "".join(f"{g}\n" for g in GENES),
}


@pytest.mark.parametrize(
    "name",
    ["prior.parquet", "prior.csv", "prior.csv.gz", "prior.npz", "prior.pkl", "lists.pkl", "new.pt", "old.pt",
     "prior.safetensors"],
)  # fmt: skip
def test_damaged_prior(trials, tmp_path, name):
    path, settings = write_prior(tmp_path / name)

    def command(prior, out):
        given = ["--settings", json.dumps(settings | {"path": str(prior)}), "--cache", out / "cache"]
        return "build_gene_prior.py", *given, "--output", out / "genes.parquet", "--sidecar", out / "genes.json"

    case = Case(
        f"gene prior, {name}", path, command, ("genes.parquet",), checked=name in CHECKED, text=name == "prior.csv"
    )
    try_damages(case, trials, tmp_path, trials.number(2, 15), trials.number(8, 200))


def test_damaged_vocabulary(trials, tmp_path):
    path, settings = write_prior(tmp_path / "new.pt")

    def command(vocabulary, out):
        given = ["--settings", json.dumps(settings | {"vocabulary": str(vocabulary)}), "--cache", out / "cache"]
        return "build_gene_prior.py", *given, "--output", out / "genes.parquet", "--sidecar", out / "genes.json"

    case = Case("vocabulary.json", path.with_name("vocabulary.json"), command, ("genes.parquet",))
    try_damages(case, trials, tmp_path, trials.number(2, 15), trials.number(6, 150))


@pytest.mark.parametrize("name", list(TABLES))
def test_damaged_table(trials, tmp_path, name):
    (tmp_path / name).write_text(TABLES[name])

    def command(table, out):
        return "damaged_readers:table", table, out / "result.json"

    case = Case(name, tmp_path / name, command, ("result.json",), function=True, text=True)
    others = name != "genes.txt"  # any text is a list of names
    try_damages(case, trials, tmp_path, trials.number(2, 15), trials.number(6, 150), others)
