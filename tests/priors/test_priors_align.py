"""Alignment to a selection: order, policies for missing and repeated genes, coverage and its messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sclamp.config.gene_priors import Matching
from sclamp.core.errors import UserError
from sclamp.priors.align import align, match_prior, match_to, read_aligned, write_aligned
from sclamp.priors.coverage import coverage, report_lines
from sclamp.priors.match import match_genes
from sclamp.priors.names import GeneNames
from sclamp.priors.selection import SelectedGenes, read_selection
from sclamp.priors.vectors import GeneVectors, write_vectors

PRIOR = GeneVectors(GeneNames(["A", "B", "C"]), np.array([[1, 2], [3, 4], [5, 6]], np.float32))


def selected(ids: list[str], shares: list[float] | None = None) -> SelectedGenes:
    return SelectedGenes(GeneNames(ids), np.array(shares or [1.0] * len(ids)))


def aligned_with(genes: SelectedGenes, prior: GeneVectors, policy: Matching) -> dict[str, list[float]]:
    out = align(genes, prior, match_genes(genes.names, prior.names), policy)
    return {genes.names.ids[p]: v.tolist() for p, v in zip(out.positions, out.vectors, strict=True)}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("drop", {"C": [5, 6], "A": [1, 2]}),
        ("zero", {"C": [5, 6], "x": [0, 0], "A": [1, 2]}),
        ("mean", {"C": [5, 6], "x": [3, 4], "A": [1, 2]}),
    ],
)
def test_missing_genes(policy: str, expected: dict[str, list[float]]) -> None:
    genes = selected(["C", "x", "A"])
    got = aligned_with(genes, PRIOR, Matching(missing=policy))
    assert got == expected and list(got) == list(expected)


@pytest.mark.parametrize(("policy", "expected"), [("first", [1.0, 1.0]), ("mean", [2.0, 3.0])])
def test_repeated_genes(policy: str, expected: list[float]) -> None:
    twice = GeneVectors(GeneNames(["A", "A"]), np.array([[1, 1], [3, 5]], np.float32))
    assert aligned_with(selected(["A"]), twice, Matching(duplicates=policy)) == {"A": expected}


def test_order_is_that_of_the_selection_whatever_the_order_of_both_sides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"GENE{i}" for i in range(200)]
    vectors = rng.normal(size=(200, 3)).astype(np.float32)
    truth = dict(zip(ids, vectors.tolist(), strict=True))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(200)
        write_vectors(tmp_path / "p.parquet", GeneVectors(GeneNames(ids).take(order.tolist()), vectors[order]), {})
        genes = selected(np.random.default_rng(seed + 9).permutation(ids)[:150].tolist())
        out, _ = match_prior(tmp_path / "p.parquet", genes, Matching())
        assert out.positions.tolist() == list(range(150))
        assert [truth[name] for name in genes.names.ids] == out.vectors.tolist()
        assert out.prior_gene == list(genes.names.ids)


def test_report_counts_genes_and_umis() -> None:
    genes = selected(["A", "b", "OLD", "x", "y"], [0.4, 0.1, 0.1, 0.15, 0.05])
    report = coverage(genes, match_genes(genes.names, PRIOR.names, aliases=[("OLD", "C")]), Matching())
    assert (report["n_genes"], report["n_found"], report["share_of_genes"]) == (5, 3, 0.6)
    assert report["share_of_umis"] == pytest.approx(0.6 / 0.8)
    assert report["matched_by"] == {"symbol": 1, "symbol_other_case": 1, "alias": 1}
    assert [entry["gene_id"] for entry in report["missing"]] == ["x", "y"]
    lines = "\n".join(report_lines(report))
    assert "3 of 5 genes have a vector (60.0% of the genes, 75.0% of their UMIs)" in lines
    assert "x (15.00%), y (5.00%)" in lines and "1 genes were found only with case ignored" in lines


def test_errors_of_policies_and_coverage_come_together(tmp_path: Path) -> None:
    twice = GeneVectors(GeneNames(["A", "A", "B"]), np.ones((3, 2), np.float32))
    write_vectors(tmp_path / "p.parquet", twice, {})
    policy = Matching(missing="error", min_coverage=0.9)
    with pytest.raises(UserError) as caught:
        match_prior(tmp_path / "p.parquet", selected(["A", "B", "x", "y"]), policy)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "only 2 of 4 selected genes have a vector (50.0% of the genes" in text and "min_coverage is 0.9" in text
    assert "1 genes have several vectors ('A'); matching.duplicates: first or mean" in text
    assert "2 of 4 genes have no vector ('x', 'y'); matching.missing: drop, zero or mean" in text


@pytest.mark.parametrize(
    ("genes", "prior", "cause"),
    [
        (["ENSG00000000001", "ENSG00000000002"], ["INS", "GCG"], "give symbols too (datasets.NAME.gene_symbols)"),
        (["INS", "GCG"], ["ENSG00000000001", "ENSG00000000002"], "a column `symbol` in the prior's table"),
        (
            ["Xxa", "Yya"],
            ["INS", "GCG"],
            "symbols as in mouse (Actb), the prior symbols as in human (ACTB): another species?",
        ),
        (["ENSMUSG00000000001"], ["ENSG00000000001"], "another species? Then give matching.orthologs"),
        (["OLD1", "OLD2"], ["INS", "GCG"], "Both are symbols as in human (ACTB): a table of former names"),
    ],
)
def test_low_coverage_names_the_likely_cause(tmp_path: Path, genes: list[str], prior: list[str], cause: str) -> None:
    write_vectors(tmp_path / "p.parquet", GeneVectors(GeneNames(prior), np.ones((len(prior), 2), np.float32)), {})
    with pytest.raises(UserError) as caught:
        match_prior(tmp_path / "p.parquet", selected(genes), Matching(min_coverage=0))
    assert cause in str(caught.value) and f"'{genes[0]}'" in str(caught.value) and f"'{prior[0]}'" in str(caught.value)


def test_swapped_ortholog_columns_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("ACT_H,actm\nINS_H,insm\n")
    settings = Matching(orthologs=str(tmp_path / "o.csv"))
    with pytest.raises(UserError, match="first column, genes of the prior in its second; the other way round 2 genes"):
        match_to(GeneNames(["actm", "insm"]), GeneNames(["ACT_H", "INS_H"]), settings)


def test_tables_of_names_with_and_without_header(tmp_path: Path) -> None:
    genes, prior = GeneNames(["OLD"]), GeneNames(["NEW"])
    for text in ("OLD\tNEW\n", "alias\tsymbol\nOLD\tNEW\n", "symbol\tnote\talias\nNEW\t-\tOLD\n"):
        (tmp_path / "a.tsv").write_text(text)
        assert match_to(genes, prior, Matching(aliases=str(tmp_path / "a.tsv"))).rows == [[0]], text
    frame = pd.DataFrame({"alias": pd.Categorical(["OLD", "x"]), "note": [1, 2], "symbol": ["NEW", None]}).set_index(
        "symbol"
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert match_to(genes, prior, Matching(aliases=str(tmp_path / "a.parquet"))).rows == [[0]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.tsv", None, "none.tsv: no such file"),
        ("one.tsv", "OLD\n", "one.tsv: 1 column, two are expected: alias, symbol"),
        ("empty.csv", "", "empty.csv: cannot be read as a table"),
        ("x.xlsx", "", "the extension '.xlsx' is not that of a table; expected .tsv, .csv"),
        ("cut.tsv.gz", b"\x1f\x8b\x08\x00broken", "cut.tsv.gz: damaged or truncated"),
    ],
)
def test_damaged_tables_of_names(tmp_path: Path, name: str, content: str | bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        match_to(GeneNames(["A"]), GeneNames(["A"]), Matching(aliases=str(tmp_path / name)))
    assert message in str(caught.value)


def test_written_and_read_back(tmp_path: Path) -> None:
    genes = selected(["C", "x", "A"])
    out = align(genes, PRIOR, match_genes(genes.names, PRIOR.names), Matching(missing="zero"))
    write_aligned(tmp_path / "m.parquet", genes.names.ids, out, {"script": "test"})
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.to_pydict() == {
        "gene_id": ["C", "x", "A"],
        "embedding": [[5, 6], [0, 0], [1, 2]],
        "matched_by": ["symbol", "filled", "symbol"],
        "prior_gene": ["C", "", "A"],
    }
    assert json.loads(table.schema.metadata[b"sclamp"]) == {"script": "test"}
    again = read_aligned(tmp_path / "m.parquet", genes.names.ids)
    assert again.positions.tolist() == [0, 1, 2] and np.array_equal(again.vectors, out.vectors)
    with pytest.raises(UserError, match=r"no gene prior that was matched to these genes \(it has 'C', 'x'\)"):
        read_aligned(tmp_path / "m.parquet", ["A"])


def test_selection_is_read_in_its_order_without_unselected_genes(selection: Callable[..., Path]) -> None:
    genes = read_selection(selection(["B", "A"], ["bb", "aa"], [0.3, 0.1], unselected=["U"]))
    assert list(genes.names.ids) == ["B", "A"] and list(genes.names.symbols) == ["bb", "aa"]
    assert genes.umi_share.tolist() == [0.3, 0.1]


def test_selection_of_another_kind_of_table(tmp_path: Path) -> None:
    from sclamp.core.files import write_table

    write_table(tmp_path / "g.parquet", {"gene": ["A"], "selected": [False]})
    with pytest.raises(UserError) as caught:
        read_selection(tmp_path / "g.parquet")
    assert "column 'gene_id' does not exist; did you mean 'gene'?" in caught.value.problems[0]
    assert "column 'umi_share' does not exist" in caught.value.problems[1]
