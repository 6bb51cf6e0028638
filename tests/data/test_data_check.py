"""What a check finds: every message is read here, and what passes the check can be prepared."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.data.findings import Finding, table
from sclamp.data.genes import id_type, species, without_version

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_good_dataset(raw, raw_file, check, said):
    settings = {
        "label": "cell_type",
        "batch": "donor",
        "covariates": {"continuous": ["age"]},
        "split": {"strategy": "random"},
    }
    report = check(raw_file(), {"every": {"flavor": "all"}}, **settings)
    assert not said(report, "error") and not said(report, "warning") and not report.failed
    ok = "\n".join(said(report, "ok"))
    for part in (
        "90 cells with unique ids", "70 genes with unique ids", "3 batches of ", "3 labels of ",
        "70 genes, identified by gene symbols (such as MT-CO1); species: human",
        "stored values are counts, the largest is ", "90 of 90 cells and 70 of 70 genes stay", "will take about",
        "train 63, val 9, test 18", "70 genes by all", "age: continuous, 90 values",
    ):  # fmt: skip
        assert part in ok
    assert report.facts["n_cells"] == 90 and report.facts["n_genes_kept"] == 70
    assert report.facts["median_counts"] == np.median(raw.X.toarray().sum(1))


# --- counts -----------------------------------------------------------------------------------------------------------


def lognormalised(data):
    data.layers["counts"] = data.X.copy()
    data.raw = data.copy()
    factors = 1e4 / np.asarray(data.X.sum(1)).ravel()
    data.X = np.log1p(sparse.csr_matrix(sparse.diags(factors) @ data.X))


def test_lognormalised_values_and_where_the_counts_are(raw_file, check, said):
    (message,) = said(check(raw_file(lognormalised)), "error")
    assert (
        message.startswith("counts: X does not hold counts: of ")
        and "looks log-normalised (natural logarithm)" in message
    )
    assert message.endswith("Counts seem to be in raw and layers/counts: set counts to it.")
    assert not said(check(raw_file(lognormalised), counts="layers/counts"), "error")


def test_counts_stored_by_gene_are_found_too(raw_file, check, said):
    def change(data):
        lognormalised(data)
        data.raw = None
        data.layers["umis"] = sparse.csc_matrix(data.layers.pop("counts"))
        data.layers["scaled"] = np.full(data.shape, 0.5)

    assert said(check(raw_file(change)), "error")[0].endswith("Counts seem to be in layers/umis: set counts to it.")


def test_one_digest_for_several_files():
    with pytest.raises(ValueError, match="sha256 is the digest of one file, and path lists 2"):
        Dataset(path=("a.h5ad", "b.h5ad"), sha256="0" * 64)


# --- annotation -------------------------------------------------------------------------------------------------------


def without_values(data):
    data.obs["donor"] = data.obs["donor"].astype(object)
    data.obs["cell_type"] = data.obs["cell_type"].astype(object)
    data.obs.iloc[:4, data.obs.columns.get_loc("donor")] = np.nan
    data.obs.iloc[:12, data.obs.columns.get_loc("cell_type")] = np.nan
    data.obs.iloc[:2, data.obs.columns.get_loc("age")] = np.nan


def test_missing_values(raw_file, check, said):
    covariates = {"categorical": ["cell_type"], "continuous": ["age"]}
    report = check(raw_file(without_values), label="cell_type", batch="donor", covariates=covariates)
    errors, warned = "\n".join(said(report, "error")), "\n".join(said(report, "warning"))
    assert "batch: obs column 'donor' is missing (NaN) for 4 of 90 cells; fill it in." in errors
    assert "covariates.continuous: obs column 'age' has 2 missing or infinite values among 90 cells" in errors
    assert "label: obs column 'cell_type' is missing (NaN) for 12 of 90 cells: unlabelled." in warned
    assert "covariates.categorical: 'cell_type' is missing for 12 cells: a category 'nan' of their own." in warned


def single_valued(data):
    data.obs["donor"], data.obs["cell_type"], data.obs["chip"], data.obs["depth"] = "d", "t", "c", 1.0
    data.obs["barcode"] = data.obs_names.astype(object)
    data.obs["unknown"] = np.nan


def test_single_values(raw_file, check, said):
    path = raw_file(single_valued)
    covariates = {"categorical": ["chip", "barcode"], "continuous": ["depth"]}
    warned = said(check(path, label="cell_type", batch="donor", covariates=covariates), "warning")
    assert "batch: obs column 'donor' has the single value 'd'; nothing to correct." in warned
    assert "label: obs column 'cell_type' tells no two labels apart; scores that compare labels do not apply." in warned
    assert "covariates.categorical: 'chip' has a single value and says nothing." in warned
    assert "covariates.continuous: 'depth' has a single value and says nothing." in warned
    assert "covariates.categorical: 'barcode' has 90 values, each one input column; is it continuous?" in warned
    (message,) = said(check(path, label="unknown"), "error")
    assert message.startswith("label: obs column 'unknown' tells no two labels apart")


def test_all_problems_at_once(raw_file, check, said):
    report = check(
        raw_file(lognormalised),
        {
            "few": {"n_genes": 10},
            "mine": {"flavor": "list", "genes": ["GENE1", "GENEE2"]},
            "lost": {"flavor": "list", "file": "no.txt"},
        },
        {"text": {"source": "text", "table": "none.tsv"}},
        label="celltype", batch="doner", gene_ids="ensemble", gene_symbols="symb",
        covariates={"categorical": ["sex"], "continuous": ["cell_type", "agee"]}, split={"column": "fold"},
    )  # fmt: skip
    errors = "\n".join(said(report, "error"))
    for part in (
        "counts: X does not hold counts",
        "label: obs column 'celltype' does not exist; did you mean 'cell_type'?",
        "batch: obs column 'doner' does not exist; did you mean 'donor'?",
        "gene_ids: var column 'ensemble' does not exist; did you mean 'ensembl'?",
        "gene_symbols: var column 'symb' does not exist",
        "covariates.categorical: obs column 'sex' does not exist",
        "covariates.continuous: obs column 'cell_type' does not hold numbers",
        "covariates.continuous: obs column 'agee' does not exist; did you mean 'age'?",
        "split.column: obs column 'fold' does not exist",
        "gene_selections.few.n_genes: 10, at least 50 are needed.",
        "genes 'mine': 1 listed genes are in the data (after quality control), at least 50 are needed.",
        "file: the gene list 'no.txt' does not exist.",
        "gene_priors.text: none.tsv: no such file.",
    ):  # fmt: skip
        assert part in errors, part
    assert errors.count("split.column") == 1
    assert "gene list: not in the data (1 of 2): 'GENEE2' (nearest: GENE2)." in said(report, "warning")


def test_repeated_ids(raw_file, check, said):
    def change(data):
        data.obs_names = ["c", "c", *data.obs_names[2:]]
        data.var_names = ["G", "G", *data.var_names[2:]]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anndata's own, about repeated names
        path = raw_file(change)
    errors = said(check(path), "error")
    assert errors == [
        f"obs index of {path}: 1 ids occur more than once ('c'); make them unique.",
        f"gene_ids: var index of {path}: 1 ids occur more than once ('G'); "
        "name a var column with unique ids as gene_ids.",
    ]


def test_genes_without_id(raw_file, check, said):
    def change(data):
        data.var["id"] = data.var_names.astype(object)
        data.var.iloc[3, 1] = np.nan

    (message,) = said(check(raw_file(change), gene_ids="id"), "error")
    assert message.startswith("gene_ids: var 'id' of ") and message.endswith("1 genes have no id.")


def test_a_pseudotime_that_is_none(raw_file, check, said):
    def change(data):
        data.obs["stage"], data.obs["same"], data.obs["dpt"] = "early", 1.0, np.arange(data.n_obs) / 7

    path = raw_file(change)
    (message,) = said(check(path, pseudotime="stage"), "error")
    assert message == "pseudotime: obs column 'stage' holds category; numbers are expected."
    assert "did you mean 'dpt'?" in said(check(path, pseudotime="dpd"), "error")[0]
    assert any("holds a single value" in text for text in said(check(path, pseudotime="same"), "warning"))
    assert any(text.startswith("dpt: known for") for text in said(check(path, pseudotime="dpt"), "ok"))


def test_rare_labels_and_values_that_no_training_cell_has(raw_file, check, said):
    def change(data):
        data.obs["cell_type"] = ["rare", "rare", *data.obs["cell_type"].astype(str)[2:]]

    path = raw_file(change)
    settings = {"label": "cell_type", "batch": "donor", "split": {"strategy": "hold_out", "hold_out": ["d1"]}}
    warned = said(check(path, **settings), "warning")
    assert "label: fewer than 5 cells have the labels 'rare' (2)." in warned
    assert "split: batch 'donor' has values without training cells (1): 'd1'." in warned


# --- genes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "kind", "guess"),
    [
        (["ACTB", "C1orf56", "HLA-DRA", "MT-CO1"], "symbol", "human"),
        (["Actb", "Gapdh", "Hbb-bs", "mt-Co1", "Xist", "Cd3e"], "symbol", "mouse"),
        (["ENSG00000139618", "ENSG00000141510"], "ensembl", "human"),
        (["ENSMUSG00000059552.8", "ENSMUSG00000041147.12"], "ensembl_versioned", "mouse"),
        (["ENSDARG00000035559", "ENSDARG00000079015"], "ensembl", "unknown"),
        (["7157", "675", "672"], "entrez", "unknown"),
        (["g1", "g2", "g3"], "symbol", "unknown"),
    ],
)
def test_kinds_of_ids_and_species(ids, kind, guess):
    assert id_type(np.array(ids)) == kind and species(np.array(ids)) == guess


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("ENSG00000139618.17", "ENSG00000139618"),
        ("ENSG00000139618", "ENSG00000139618"),
        ("RP11-309M23.1", "RP11-309M23.1"),
    ],
)
def test_only_ensembl_ids_lose_their_version(name, stem):
    assert without_version(name) == stem


def test_ids_without_symbols_and_mixed_ids(raw_file, check, said):
    def change(data):
        names = list(data.var["ensembl"])
        names[:10] = [f"GENE{i}" for i in range(10)]
        data.var_names = names

    report = check(raw_file(change), quality={"max_mito_share": 0.2, "min_cells": 0})
    warned = said(report, "warning")
    assert warned == [
        "gene_symbols: the genes have Ensembl ids with version and no symbols; name a column of var with them. "
        "Columns of var: ensembl.",
        "gene ids are mixed: 10 of 70 are no Ensembl ids with version.",
        "quality.max_mito_share has no effect: no gene symbol starts with 'MT-' (quality.mito_prefix).",
    ]


def test_small_batches_and_selections_that_leave_nothing_out(raw_file, check, said):
    report = check(raw_file(), {"hvg": {"n_genes": 2000}, "other": {"flavor": "seurat", "n_genes": 60}}, batch="donor")
    warned = said(report, "warning")
    assert warned[0] == "gene_selections.hvg.n_genes: 2000 of 70 genes: nothing is left out."
    assert warned[1].startswith("gene_selections.hvg: 3 of 3 batches have fewer than 50 train cells ('d")
    assert "60 genes by seurat" in said(report, "ok")


# --- quality, splits, files -------------------------------------------------------------------------------------------


def test_quality_that_leaves_little(raw_file, check, said):
    (message,) = said(check(raw_file(), quality={"min_counts": 10**6}), "error")
    assert message == "quality: no cell is left of 90; left out by min_counts 90, min_cells 70."
    few = said(check(raw_file(), quality={"max_genes": 27, "min_cells": 0}), "warning")
    assert any("of 90 cells and 70 of 70 genes stay; left out by max_genes" in message for message in few)


def test_split_without_validation_cells(raw_file, check, said):
    path = raw_file(lambda data: data.obs.insert(0, "part", "train"))
    (message,) = said(check(path, split={"column": "part"}), "error")
    assert message.startswith("split: no validation cells among 90 (split.column is 'part'")


def test_a_missing_file_is_the_only_finding(tmp_path, check, said):
    report = check(tmp_path / "none.h5ad")
    assert len(report.findings) == 1 and "none.h5ad' does not exist" in said(report, "error")[0]


def test_the_table_shows_errors_first():
    text = table([Finding("a", "ok", "fine"), Finding("long name", "error", "bad"), Finding("b", "warning", "odd")])
    assert text == "ERROR   long name  bad\nWARNING b          odd\nOK      a          fine\n"


def test_a_measurement_is_no_batch(raw_file, check, said):
    report = check(raw_file(), batch="age")
    assert any(
        re.search(r"'age' has 90 values for 90 cells \(such as '[\d.]+'\); is it a measurement\? Name", message)
        for message in said(report, "warning")
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [("x.h5ad.gz", "unpack it first"), ("x.rds", "Write it as .h5ad from R"), ("x.loom", "Read it with scanpy")],
)
def test_foreign_files_are_told_what_to_become(tmp_path, check, said, name, hint):
    (tmp_path / name).write_bytes(b"?")
    assert hint in said(check(tmp_path / name), "error")[0]
