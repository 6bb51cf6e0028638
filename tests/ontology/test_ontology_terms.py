"""The Cell Ontology as a graph: hierarchy, obsolete terms, distances, cost of loading."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sclamp.core.errors import UserError
from sclamp.ontology.terms import ROOT, Ontology, Term, cell_ontology

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
T_CELL, LYMPHOCYTE, B_CELL, NUCLEUS = "CL:0000084", "CL:0000542", "CL:0000236", "CL:0017507"


def toy(**terms: Term) -> Ontology:
    return Ontology(terms, "toy")


DIAMOND = toy(
    root=Term("root"), left=Term("left", parents=("root",)), right=Term("right", parents=("root",)),
    both=Term("both", parents=("left", "right")), leaf=Term("leaf", parents=("both",)), alone=Term("alone"),
    old=Term("old", obsolete=True, replacement="older"), older=Term("older", obsolete=True, replacement="leaf"),
    ring=Term("ring", obsolete=True, replacement="ring"),
)  # fmt: skip


def test_relations_of_a_term_with_two_parents():
    assert DIAMOND.parents("both") == ("left", "right")
    assert DIAMOND.ancestors("leaf") == {"both", "left", "right", "root"}
    assert DIAMOND.descendants("root") == {"left", "right", "both", "leaf"}
    assert DIAMOND.children("root") == ("left", "right")
    assert DIAMOND.children("leaf") == DIAMOND.children("old") == ()
    assert DIAMOND.ancestors("old") == DIAMOND.descendants("old") == frozenset()


def test_distances_go_up_and_down_and_are_infinite_without_a_path():
    distances = DIAMOND.distances(["leaf", "left", "right", "alone", "leaf"])
    assert distances.dtype == np.float32
    assert distances.tolist() == [
        [0, 2, 2, np.inf, 0], [2, 0, 2, np.inf, 2], [2, 2, 0, np.inf, 2], [np.inf] * 3 + [0, np.inf],
        [0, 2, 2, np.inf, 0],
    ]  # fmt: skip
    assert DIAMOND.distances([]).shape == (0, 0)
    assert toy(only=Term("only")).distances(["only"]).tolist() == [[0]]


def test_distances_equal_a_search_by_hand_on_the_cell_ontology():
    ontology = cell_ontology()
    chosen = ["CL:0000169", T_CELL, "CL:0000057", NUCLEUS]
    found = ontology.distances(chosen)
    for row, start in enumerate(chosen):
        steps, edge = {start: 0}, [start]
        while edge:
            here = edge.pop(0)
            for near in (*ontology.parents(here), *ontology.children(here)):
                if near not in steps:
                    steps[near] = steps[here] + 1
                    edge.append(near)
        assert found[row].tolist() == [steps.get(term, np.inf) for term in chosen]


def test_the_cell_ontology_is_what_its_specification_counted():
    """Counts of release v2026-03-26, as an independent reading of the same package found them."""
    ontology = cell_ontology()
    assert ontology.version == "v2026-03-26"
    assert len(ontology.terms) == 3596
    assert len(ontology.ids) == 3596 - 272
    assert sum(len(ontology.parents(term)) for term in ontology.ids) == 4633
    assert (ontology.name(T_CELL), ontology.parents(T_CELL)) == ("T cell", (LYMPHOCYTE,))
    assert (len(ontology.children(T_CELL)), len(ontology.descendants(T_CELL)), len(ontology.ancestors(T_CELL))) == (
        9, 171, 9,
    )  # fmt: skip
    assert "T-cell" in ontology.synonyms(T_CELL)
    assert ROOT in ontology.ancestors(B_CELL)
    assert cell_ontology() is ontology


def test_obsolete_terms_lead_to_what_replaces_them():
    assert [DIAMOND.current(term) for term in ("leaf", "old", "ring", "none")] == ["leaf", "leaf", None, None]
    ontology = cell_ontology()
    replaced = ["CL:0000651", "CL:4023070", "CL:0000548", "CL:0000003", "CL:0002371"]
    assert [ontology.current(term) for term in replaced] == ["CL:0002181", "CL:4023064", ROOT, ROOT, ROOT]
    assert ontology.current("CL:0000002") is None  # its replacement is of another ontology


def test_unknown_and_obsolete_terms_are_reported_together():
    with pytest.raises(UserError) as error:
        cell_ontology().distances([T_CELL, "CL:0000651", "CL:000084", "CL:0000002"])
    obsolete, unknown, gone = error.value.problems
    assert "CL:0000651 (obsolete mucous neck cell) is obsolete; use CL:0002181 (mucous neck cell" in obsolete
    assert "Cell Ontology v2026-03-26: term 'CL:000084' does not exist; did you mean 'CL:2000084'?" in unknown
    assert "(3324 in all)" in unknown
    assert "CL:0000002 (obsolete immortal cell line cell) is obsolete; nothing replaces it." in gone
    with pytest.raises(UserError, match="term 'T cell' does not exist"):
        cell_ontology().ancestors("T cell")


def test_an_impossible_hierarchy_is_refused():
    with pytest.raises(ValueError, match="a: its parent b is obsolete or does not exist"):
        toy(a=Term("a", parents=("b",)), b=Term("b", obsolete=True))
    with pytest.raises(ValueError, match="a: is its own ancestor"):
        toy(a=Term("a", parents=("b",)), b=Term("b", parents=("a",)))


def test_digests_follow_the_relations():
    other = toy(**{**DIAMOND.terms, "leaf": Term("leaf", parents=("left",))})
    assert DIAMOND.digest != other.digest
    assert DIAMOND.digest == toy(**dict(reversed(DIAMOND.terms.items()))).digest
    assert DIAMOND.digest_of(["root", "left"]) == other.digest_of(["left", "root"])
    assert DIAMOND.digest_of(["root", "leaf"]) != DIAMOND.digest_of(["root", "left"])


def test_loading_is_quick_and_light():
    code = (
        f"import sys, time; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "import numpy\nstart = time.process_time()\n"
        "from sclamp.ontology.terms import cell_ontology; cell_ontology()\n"
        "print(time.process_time() - start, *{'torch', 'scipy', 'pandas'} & set(sys.modules))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)  # the least of two: the machine may be busy
    ]
    assert min(float(run[0]) for run in runs) < 0.5
    assert all(len(run) == 1 for run in runs)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
