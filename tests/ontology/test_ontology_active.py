"""The terms that a classifier distinguishes, and whose each of them is."""

from __future__ import annotations

import numpy as np

from sclamp.ontology.active import active_terms
from sclamp.ontology.terms import Ontology, Term, cell_ontology

# root > a > (a1, both), root > b > (b1, both), and a term that nothing relates to
TOY = Ontology(
    {
        "root": Term("root"), "a": Term("a", parents=("root",)), "b": Term("b", parents=("root",)),
        "a1": Term("a1", parents=("a",)), "b1": Term("b1", parents=("b",)), "both": Term("both", parents=("a", "b")),
        "far": Term("far"),
    },
    "toy",
)  # fmt: skip


def test_active_terms_are_the_chosen_ones_and_their_ancestors():
    active = active_terms(TOY, ["both", "a1"])
    assert active.terms == ("a", "a1", "b", "both", "root")
    pairs = [(active.terms[i], active.terms[j]) for i, j in zip(active.above, active.below, strict=True)]
    assert sorted(pairs) == [
        ("a", "a"), ("a", "a1"), ("a", "both"), ("a1", "a1"), ("b", "b"), ("b", "both"), ("both", "both"),
        ("root", "a"), ("root", "a1"), ("root", "b"), ("root", "both"), ("root", "root"),
    ]  # fmt: skip
    assert active.n_ancestors.tolist() == [1, 2, 1, 3, 0]
    assert [active.terms[i] for i in active.leaves] == ["a1", "both"]
    assert active.above.dtype == active.below.dtype == np.int64


def test_pairs_of_the_cell_ontology_equal_its_ancestors():
    ontology = cell_ontology()
    chosen = ["CL:0000169", "CL:0000084", "CL:0000057"]
    active = active_terms(ontology, chosen)
    where = {term: i for i, term in enumerate(active.terms)}
    pairs = set(zip(active.above.tolist(), active.below.tolist(), strict=True))
    assert set(active.terms) == set(chosen).union(*(ontology.ancestors(term) for term in chosen))
    for term in active.terms:
        assert {i for i, j in pairs if j == where[term]} == {where[t] for t in ontology.ancestors(term) | {term}}


def test_a_term_belongs_to_the_most_specific_labels_that_include_it():
    active = active_terms(TOY, ["both", "a1", "b1", "far"])
    where = {term: i for i, term in enumerate(active.terms)}

    def shares(*labels: str) -> dict[str, list[float]]:
        found = active.shares([where.get(label, -1) for label in labels])
        return {term: found[i].tolist() for term, i in where.items()}

    flat = shares("a", "b", "nothing")
    assert flat["a"] == flat["a1"] == [1, 0, 0]
    assert flat["both"] == [0.5, 0.5, 0]  # of two labels alike
    assert flat["root"] == flat["far"] == [0, 0, 0]
    nested = shares("root", "a", "a1")
    assert nested["a1"] == [0, 0, 1]
    assert nested["a"] == nested["both"] == [0, 1, 0]
    assert nested["root"] == nested["b"] == nested["b1"] == [1, 0, 0]
    assert shares("a", "a")["a1"] == [0.5, 0.5]  # two labels of one term
