"""Properties of readers and of the gene matcher that hold for whatever hypothesis thinks of."""

from __future__ import annotations

import contextlib
import gzip
import tempfile
from collections import Counter
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import EXAMPLES
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.config.gene_priors import Matching
from sclamp.core.files import read_embedding, read_table, write_embedding, write_table
from sclamp.data import h5ad
from sclamp.data.h5ad import CountMap, counts_writer, read_cells
from sclamp.data.sources import open_source
from sclamp.priors.coverage import coverage
from sclamp.priors.match import match_genes
from sclamp.priors.names import GeneNames
from sclamp.priors.selection import SelectedGenes

FORMS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@st.composite
def matrices(draw, most=12):
    """Small matrices of counts of any type, with empty rows and columns."""
    shape = draw(st.integers(1, most)), draw(st.integers(1, most))
    kind = draw(st.sampled_from([np.uint8, np.int32, np.int64, np.float32, np.float64]))
    values = draw(
        st.lists(st.sampled_from([0, 0, 0, 1, 2, 7, 200]), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    )
    return np.array(values, dtype=kind).reshape(shape)


@contextlib.contextmanager
def blocks_of(n):
    """Streams in blocks of n stored values."""
    before, h5ad.BLOCK_NONZEROS = h5ad.BLOCK_NONZEROS, n
    try:
        yield
    finally:
        h5ad.BLOCK_NONZEROS = before


def read(path, **more):
    with open_source(Dataset(path=str(path), **more)) as source:
        return sparse.vstack(list(source.blocks())).toarray(), list(source.obs.index), list(source.var.index)


@settings(EXAMPLES)
@given(matrices(), st.sampled_from(list(FORMS)), st.integers(1, 40), st.sampled_from([None, "gzip"]), st.data())
def test_any_h5ad_reads_as_written(counts, form, block, compression, data):
    cells = data.draw(st.lists(text, min_size=len(counts), max_size=len(counts), unique=True))
    genes = data.draw(st.lists(text, min_size=counts.shape[1], max_size=counts.shape[1], unique=True))
    made = anndata.AnnData(FORMS[form](counts), pd.DataFrame(index=cells), pd.DataFrame(index=genes))
    with tempfile.TemporaryDirectory() as folder, blocks_of(block):
        made.write_h5ad(Path(folder, "x.h5ad"), compression=compression)
        found, obs, var = read(Path(folder, "x.h5ad"))
    assert (found == counts).all() and obs == cells and var == genes


@settings(EXAMPLES)
@given(matrices(), st.booleans(), st.integers(1, 40))
def test_any_tenx_reads_as_written(counts, zipped, block):
    counts = counts.astype(np.int64)
    barcodes, genes = [f"c{i}" for i in range(len(counts))], [f"g{i}" for i in range(counts.shape[1])]
    with tempfile.TemporaryDirectory() as folder, blocks_of(block):
        root = Path(folder, "mtx")
        root.mkdir()
        scipy.io.mmwrite(root / "matrix.mtx", sparse.coo_matrix(counts.T), field="integer")
        (root / "barcodes.tsv").write_text("".join(f"{b}\n" for b in barcodes))
        (root / "genes.tsv").write_text("".join(f"{g}\t{g}\n" for g in genes))
        for file in list(root.iterdir()) if zipped else []:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        assert (read(root)[0] == counts).all()
        by_cell = sparse.csr_matrix(counts)
        with h5py.File(Path(folder, "x.h5"), "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(by_cell, name)
            group["barcodes"] = np.array(barcodes, "S")
            group["features/id"] = group["features/name"] = np.array(genes, "S")
            group["features/feature_type"] = np.array(["Gene Expression"] * len(genes), "S")
        assert (read(Path(folder, "x.h5"))[0] == counts).all()


@settings(EXAMPLES)
@given(matrices(), st.integers(1, 40), st.data())
def test_our_counts_read_back_in_any_pieces(counts, block, data):
    n, g = counts.shape
    obs = pd.DataFrame(index=pd.Index([f"c{i}" for i in range(n)], dtype=object))
    var = pd.DataFrame(index=pd.Index([f"g{i}" for i in range(g)], dtype=object))
    matrix = sparse.csr_matrix(counts)
    with tempfile.TemporaryDirectory() as folder, blocks_of(block):
        path, at = Path(folder, "x.h5ad"), 0
        uns = {"spec": {}, "provenance": {}}
        with counts_writer(path, obs, var, matrix.nnz, np.float32, np.uint16, {}, uns) as writer:
            while at < n:
                stop = at + data.draw(st.integers(1, n - at))
                writer.append(matrix[at:stop])
                at = stop
        found = CountMap(path)
        assert (sparse.vstack([part for _, part in found.blocks()]).toarray() == counts).all()
        first = data.draw(st.integers(0, n - 1))
        last = data.draw(st.integers(first, n))
        assert (found.rows(slice(first, last)).toarray() == counts[first:last]).all()
        assert list(read_cells(path).obs.index) == list(obs.index)


@settings(EXAMPLES)
@given(st.lists(text, max_size=20, unique=True), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_tables_and_embeddings_read_as_written(ids, width, seed):
    matrix = np.random.default_rng(seed).normal(size=(len(ids), width)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        write_embedding(path, "cell_id", ids, matrix, {"seed": seed})
        first = path.read_bytes()
        found, values = read_embedding(path, "cell_id")
        assert list(found) == ids and (not ids or (values == matrix).all())
        write_embedding(path, "cell_id", ids, matrix, {"seed": seed})
        assert path.read_bytes() == first
        write_table(path, {"id": ids, "n": list(range(len(ids)))})
        assert read_table(path).to_pydict() == {"id": ids, "n": list(range(len(ids)))}


# --- the gene matcher -------------------------------------------------------------------------------------------------

symbols = st.sampled_from(["A1", "a1", "B2", "B2P", "C3", "OLD1", "OLD2", "ENSG00000000001", "ENSG00000000001.3", "Zz"])
names = st.lists(symbols, min_size=1, max_size=8, unique=True)
pairs = st.lists(st.tuples(symbols, symbols), max_size=6)


@settings(EXAMPLES)
@given(names, st.lists(symbols, min_size=1, max_size=10), pairs, pairs, st.randoms(use_true_random=False))
def test_matches_depend_on_names_not_on_their_order(genes, prior, aliases, orthologs, random):
    def found(some_genes, some_prior, some_aliases):
        match = match_genes(GeneNames(some_genes), GeneNames(some_prior), some_aliases, orthologs)
        by_name = {
            gene: (sorted(some_prior[row] for row in rows), way, case)
            for gene, rows, way, case in zip(some_genes, match.rows, match.way, match.other_case, strict=True)
        }
        return by_name, {some_genes[at]: names for at, names in match.ambiguous.items()}

    orders = [random.sample(values, len(values)) for values in (genes, prior, aliases)]
    assert found(genes, prior, aliases) == found(*orders)


@settings(EXAMPLES)
@given(names, st.lists(symbols, min_size=1, max_size=10), pairs)
def test_an_exact_name_wins_and_rows_are_of_one_name(genes, prior, aliases):
    match = match_genes(GeneNames(genes), GeneNames(prior), aliases)
    for gene, rows, way in zip(genes, match.rows, match.way, strict=True):
        assert bool(rows) == bool(way)
        assert len({prior[row].partition(".")[0] for row in rows}) <= 1  # repeated rows of one gene, never of two
        if gene in prior and not gene.startswith("ENSG"):
            assert way == "symbol" and {prior[row] for row in rows} == {gene}
            assert rows == [row for row, name in enumerate(prior) if name == gene]
    again = match_genes(GeneNames(genes), GeneNames(prior), aliases)
    assert again == match


@settings(EXAMPLES)
@given(names, st.lists(symbols, min_size=1, max_size=10), pairs, st.data())
def test_coverage_adds_up(genes, prior, aliases, data):
    share = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(genes), max_size=len(genes))))
    match = match_genes(GeneNames(genes), GeneNames(prior), aliases)
    report = coverage(SelectedGenes(GeneNames(genes), share), match, Matching())
    lost = [entry["gene_id"] for entry in report["missing"]]
    assert report["n_found"] + len(lost) == report["n_genes"] == len(genes)
    assert sum(report["matched_by"].values()) == report["n_found"]
    assert sorted([*lost, *(g for g, rows in zip(genes, match.rows, strict=True) if rows)]) == sorted(genes)
    missing_share = sum(entry["umi_share"] for entry in report["missing"])
    if share.sum() > 1e-6:
        assert report["share_of_umis"] == pytest.approx(1 - missing_share / share.sum(), abs=1e-9)
    used = Counter(tuple(rows) for rows in match.rows if rows)
    assert report["genes_that_share_a_vector"] == sum(n for n in used.values() if n > 1)
