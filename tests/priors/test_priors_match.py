"""Matching of gene names: the order of the ways, case, ambiguity."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclamp.priors.match import match_genes
from sclamp.priors.names import GeneNames, ensembl_stem, kind


def found(genes: GeneNames, prior: GeneNames, **tables: list[tuple[str, str]]) -> dict[str, tuple[str, list[str]]]:
    """Gene -> (way, ids in the prior), for genes that were found."""
    match = match_genes(genes, prior, **tables)
    ids = [[prior.ids[row] for row in rows] for rows in match.rows]
    return {g: (w, i) for g, w, i in zip(genes.ids, match.way, ids, strict=True) if i}


def test_each_way_finds_its_gene() -> None:
    genes = GeneNames(["INS", "MTL5", "ENSG00000000003.12", "Gcg", "nowhere"])
    prior = GeneNames(["INS", "TESMIN", "TSPAN6", "GCG"], ensembl=["", "", "ENSG00000000003", ""])
    got = found(genes, prior, aliases=[("MTL5", "TESMIN")], orthologs=[("Gcg", "GCG")])
    assert got == {
        "INS": ("symbol", ["INS"]),
        "MTL5": ("alias", ["TESMIN"]),
        "ENSG00000000003.12": ("ensembl", ["TSPAN6"]),
        "Gcg": ("ortholog", ["GCG"]),
    }


def test_symbol_comes_before_alias_before_ensembl_before_ortholog() -> None:
    genes = GeneNames(["A"], ensembl=["ENSG00000000001"])
    rows = {"A": "", "B": "", "C": "ENSG00000000001", "D": ""}
    tables = {"aliases": [("A", "B")], "orthologs": [("A", "D")]}
    for way, expected in [("symbol", "A"), ("alias", "B"), ("ensembl", "C"), ("ortholog", "D")]:
        prior = GeneNames(list(rows), ensembl=list(rows.values()))
        assert found(genes, prior, **tables) == {"A": (way, [expected])}
        del rows[expected]


def test_ids_of_either_kind_meet_through_the_other_column() -> None:
    ensembl, symbols = ["ENSG00000254647", "ENSG00000115263"], ["INS", "GCG"]
    assert found(GeneNames(ensembl), GeneNames(symbols, ensembl=ensembl)).keys() == set(ensembl)
    assert found(GeneNames(symbols), GeneNames(ensembl, symbols=symbols)).keys() == set(symbols)
    assert found(GeneNames(ensembl, symbols=symbols), GeneNames(symbols)).keys() == set(ensembl)
    assert found(GeneNames(symbols, ensembl=ensembl), GeneNames([f"{e}.7" for e in ensembl])).keys() == set(symbols)


def test_ensembl_ids_of_both_sides_lose_their_version() -> None:
    got = found(GeneNames(["ENSG00000254647.8"]), GeneNames(["ENSG00000254647.3"]))
    assert got == {"ENSG00000254647.8": ("ensembl", ["ENSG00000254647.3"])}
    assert ensembl_stem("ENSMUSG00000000001.4") == "ENSMUSG00000000001"
    assert ensembl_stem("ENSG00000182378.15_PAR_Y") == "ENSG00000182378"
    assert ensembl_stem("ENSG1") == ensembl_stem("xENSG00000182378") == ""


def test_a_table_of_ensembl_ids_and_symbols_serves_as_aliases() -> None:
    got = found(GeneNames(["ENSG00000254647.8"]), GeneNames(["INS"]), aliases=[("ENSG00000254647", "INS")])
    assert got == {"ENSG00000254647.8": ("alias", ["INS"])}


def test_aliases_work_in_both_directions_but_only_where_they_mean_one_gene() -> None:
    aliases = [("OLD", "NEW"), ("TWICE", "X"), ("TWICE", "Y")]
    assert found(GeneNames(["NEW"]), GeneNames(["OLD"]), aliases=aliases) == {"NEW": ("alias", ["OLD"])}
    match = match_genes(GeneNames(["TWICE"]), GeneNames(["X"]), aliases=aliases)
    assert match.rows == [[]] and match.ambiguous == {0: ["X", "Y"]}
    assert found(GeneNames(["X"]), GeneNames(["TWICE"]), aliases=aliases) == {}


def test_an_alias_does_not_take_the_row_of_a_gene_that_has_it_by_its_own_name() -> None:
    got = found(GeneNames(["OLD", "NEW"]), GeneNames(["NEW"]), aliases=[("OLD", "NEW")])
    assert got == {"NEW": ("symbol", ["NEW"])}


def test_case_is_ignored_only_after_everything_else_and_where_unambiguous() -> None:
    match = match_genes(
        GeneNames(["C1ORF1", "Actb"]), GeneNames(["C1orf1", "ACTB", "Other"]), orthologs=[("Actb", "Other")]
    )
    assert match.way == ["symbol", "ortholog"] and match.other_case == [True, False]
    for genes, prior in [(["abc"], ["ABC", "Abc"]), (["ABC", "abC"], ["abc"]), (["ACTB", "Actb"], ["ACTB"])]:
        match = match_genes(GeneNames(genes), GeneNames(prior))
        assert [bool(rows) for rows in match.rows] == [gene in prior for gene in genes], (genes, prior)
    assert match_genes(GeneNames(["abc"]), GeneNames(["ABC", "Abc"])).ambiguous == {0: ["ABC", "Abc"]}


def test_a_gene_with_two_orthologs_in_the_prior_is_ambiguous() -> None:
    match = match_genes(GeneNames(["Ins1"]), GeneNames(["A", "B"]), orthologs=[("Ins1", "A"), ("Ins1", "B")])
    assert match.rows == [[]] and match.ambiguous == {0: ["A", "B"]}
    one_known = match_genes(GeneNames(["Ins1"]), GeneNames(["A"]), orthologs=[("Ins1", "A"), ("Ins1", "B")])
    assert one_known.rows == [[0]] and one_known.ambiguous == {}


def test_orthologs_by_ensembl_id() -> None:
    pairs = [("ENSMUSG00000000001", "ENSG00000000001")]
    got = found(
        GeneNames(["ENSMUSG00000000001.5"]), GeneNames(["GNAI3"], ensembl=["ENSG00000000001.2"]), orthologs=pairs
    )
    assert got == {"ENSMUSG00000000001.5": ("ortholog", ["GNAI3"])}


def test_repeated_genes_of_the_prior_are_all_given() -> None:
    assert match_genes(GeneNames(["A"]), GeneNames(["A", "B", "A"])).rows == [[0, 2]]
    by_column = GeneNames(["ENSG00000000001", "ENSG00000000002"], symbols=["A", "A"])
    assert match_genes(GeneNames(["A"]), by_column).rows == [[0, 1]]


@given(st.lists(st.text("ABCabc1-", min_size=1, max_size=4), unique=True, max_size=30), st.integers(0, 99))
def test_order_of_genes_and_of_the_prior_does_not_matter(names: list[str], seed: int) -> None:
    rng = random.Random(seed)
    prior = rng.sample(names, len(names) // 2 + 1) if names else ["A"]
    first = found(GeneNames(names), GeneNames(prior))
    again = found(GeneNames(rng.sample(names, len(names))), GeneNames(rng.sample(prior, len(prior))))
    assert first == again


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["ENSMUSG00000000001.1", "ENSMUSG00000000002"], "Ensembl ids (ENSMUSG...)"),
        (["1", "29974"], "numbers"),
        (["Actb", "Gapdh", "mt-Co1"], "symbols as in mouse (Actb)"),
        (["ACTB", "GAPDH", "C1orf1"], "symbols as in human (ACTB)"),
        (["a-1", "b-2"], "symbols"),
    ],
)
def test_kinds_of_ids(ids: list[str], expected: str) -> None:
    assert kind(GeneNames(ids)) == expected
