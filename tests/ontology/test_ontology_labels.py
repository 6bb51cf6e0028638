"""Labels of datasets find their terms of the Cell Ontology, or are reported with the nearest names."""

from __future__ import annotations

import pytest

from sclamp.core.errors import UserError
from sclamp.ontology.labels import map_labels, nearest_terms, normal
from sclamp.ontology.terms import Ontology, Term, cell_ontology

T_CELL, MONOCYTE = "CL:0000084", "CL:0001054"


@pytest.mark.parametrize(
    ("label", "term"),
    [
        (T_CELL, T_CELL),
        ("cl_0000084", T_CELL),
        ("T cell", T_CELL),
        ("T cells", T_CELL),
        ("t_cell", T_CELL),
        ("T-Lymphocytes", T_CELL),  # a synonym in the plural
        ("macrophages", "CL:0000235"),
        ("CD14+ Monocytes", MONOCYTE),
        ("CD14-positive monocyte", MONOCYTE),
        ("Schwann", "CL:0002573"),  # a name without its "cell"
        ("plasma", "CL:0000786"),
        ("pancreatic \u03b2 cell", "CL:0000169"),  # a synonym with a Greek letter
        ("CL:0000651", "CL:0002181"),  # obsolete, replaced
        ("obsolete mucous neck cell", "CL:0002181"),
        ("substantia nigra dopaminergic neuron", "CL:4042025"),  # one term's name, another's synonym
    ],
)
def test_a_label_finds_its_term(label: str, term: str):
    assert map_labels([label]).terms == {label: term}


def test_a_short_label_does_not_become_a_rare_synonym():
    """A synonym of a retinal ganglion cell of the mouse is "alpha cell", which nobody's "alpha" means."""
    mapped = map_labels(["alpha", "beta"])
    assert mapped.terms == {}
    assert (
        "label 'alpha': no term of Cell Ontology v2026-03-26 has such a name; the nearest names are"
        in (mapped.problems["alpha"])
    )
    assert "CL:0000171 (pancreatic A cell)" in mapped.problems["alpha"]
    assert "CL:0000169 (type B pancreatic cell)" in mapped.problems["beta"]


@pytest.mark.parametrize(
    ("label", "suggestion"),
    [
        ("NK", "CL:0000623 (natural killer cell)"),
        ("HSC", "CL:0000037 (hematopoietic stem cell)"),
        ("Mono_CD14", "CL:0001054 (CD14-positive monocyte)"),
        ("ductal", "CL:0002079 (pancreatic ductal cell)"),
        ("makrophage", "CL:0000235 (macrophage)"),
    ],
)
def test_the_nearest_names_are_suggested(label: str, suggestion: str):
    assert suggestion in map_labels([label]).problems[label]


def test_all_unmapped_labels_are_reported_at_once():
    with pytest.raises(UserError) as error:
        map_labels(["T cell", "qqq", "CL:9999999", "CL:0000004", "CL:0000002"]).complete()
    name, number, considered, gone = error.value.problems
    assert name == "label 'qqq': no term of Cell Ontology v2026-03-26 has such a name."
    assert number == "label 'CL:9999999': Cell Ontology v2026-03-26 has no such term."
    assert considered.endswith("nothing replaces it; consider CL:0000000 (cell), CL:0001034 (cell in vitro).")
    assert gone.endswith("CL:0000002 is obsolete in Cell Ontology v2026-03-26 and nothing replaces it.")
    assert map_labels(["T cell"]).complete() == {"T cell": T_CELL}


def test_the_users_table_wins_and_may_leave_labels_out():
    table = {"B": T_CELL, "mine": "CD14+ monocytes", "unknown": None, "other": "no such thing"}
    mapped = map_labels(["B", "mine", "unknown", "other", "NK cell"], table)
    assert mapped.terms == {"B": T_CELL, "mine": MONOCYTE, "NK cell": "CL:0000623"}
    assert list(mapped.problems) == ["other"]
    assert "label 'other' (in the table: 'no such thing'): no term" in mapped.problems["other"]


def test_a_label_that_fits_several_terms_fits_none():
    ontology = Ontology({"X:1": Term("one", ("twin",)), "X:2": Term("two", ("Twins",)), "X:3": Term("twi n")}, "toy")
    mapped = map_labels(["twin", "One cell", "X:2"], ontology=ontology)
    assert mapped.problems == {
        "twin": "label 'twin': fits several terms: X:1 (one), X:2 (two); name one of them by its id."
    }
    assert mapped.terms == {"One cell": "X:1", "X:2": "X:2"}


def test_every_current_term_is_found_by_its_own_name():
    """So no two names are alike but for what makes no difference."""
    ontology = cell_ontology()
    names = {ontology.name(term): term for term in ontology.ids}
    assert map_labels(names, ontology=ontology).complete() == names


def test_normal_forms():
    assert normal("  CD4+,  \u03b1-\u03b2 T_Cells ") == "cd4 positive alpha beta t cell"
    assert normal("IgG-negative class") == "igg negative class"
    assert nearest_terms("", cell_ontology()) == []
