"""The Cell Ontology as a graph of terms keyed on their ids (`CL:` and seven digits); names may change, ids do not."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sclamp.core.errors import UserError, unknown

ROOT = "CL:0000000"
"""The term "cell"."""


@dataclass(frozen=True)
class Term:
    """One term. parents: ids of the terms that it is directly a kind of.

    obsolete terms have no place in the hierarchy; replacement: the term to use instead, consider: candidates for one.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    obsolete: bool = False
    replacement: str | None = None
    consider: tuple[str, ...] = ()


class Ontology:
    """Terms and their "is a" hierarchy. ids: the terms that are not obsolete, sorted; version: of the release."""

    def __init__(self, terms: Mapping[str, Term], version: str) -> None:
        """ValueError: a parent that is obsolete or does not exist, a cycle."""
        self.terms, self.version = dict(terms), version
        self.ids = tuple(sorted(term for term, what in terms.items() if not what.obsolete))
        self._children: dict[str, list[str]] = {term: [] for term in self.ids}
        for term in self.ids:
            for parent in terms[term].parents:
                if parent not in self._children:
                    raise ValueError(f"{term}: its parent {parent} is obsolete or does not exist")
                self._children[parent].append(term)
        self._ancestors = self._closure()

    def name(self, term: str) -> str:
        """Preferred name of a term, also of an obsolete one."""
        return self._known(term).name

    def synonyms(self, term: str) -> tuple[str, ...]:
        """Other names of a term."""
        return self._known(term).synonyms

    def parents(self, term: str) -> tuple[str, ...]:
        """The terms that it is directly a kind of."""
        return self._known(term).parents

    def children(self, term: str) -> tuple[str, ...]:
        """The terms that are directly a kind of it, sorted; none for an obsolete one."""
        self._known(term)
        return tuple(self._children.get(term, ()))

    def ancestors(self, term: str) -> frozenset[str]:
        """All terms that it is a kind of, without itself; none for an obsolete one."""
        self._known(term)
        return self._ancestors.get(term, frozenset())

    def descendants(self, term: str) -> frozenset[str]:
        """All terms that are a kind of it, without itself."""
        self._known(term)
        found: set[str] = set()
        waiting = list(self._children.get(term, ()))
        while waiting:
            child = waiting.pop()
            if child not in found:
                found.add(child)
                waiting += self._children[child]
        return frozenset(found)

    def current(self, term: str) -> str | None:
        """The term itself, or what replaces it where it is obsolete; None for nothing, or where no such term exists."""
        seen: set[str] = set()
        while term in self.terms and self.terms[term].obsolete and term not in seen:
            seen.add(term)
            term = self.terms[term].replacement or ""
        return term if term in self._children else None

    def distances(self, terms: Sequence[str]) -> np.ndarray:
        """Fewest "is a" steps, up or down, between each two of the terms: (n, n) float32, inf where no path leads.

        Paths may pass over terms that are not asked for. UserError: ids that are not among the current terms.
        """
        from scipy import sparse
        from scipy.sparse.csgraph import dijkstra

        where = {term: i for i, term in enumerate(self.ids)}
        if absent := [term for term in dict.fromkeys(terms) if term not in where]:
            raise UserError(*(self._absent(term) for term in absent))
        chosen = np.array([where[term] for term in terms], dtype=np.int64)
        if not len(chosen):
            return np.zeros((0, 0), np.float32)
        edges = [(where[term], where[parent]) for term in self.ids for parent in self.terms[term].parents]
        rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
        graph = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(where), len(where)))
        found = dijkstra(graph, directed=False, indices=chosen, unweighted=True)
        return found[:, chosen].astype(np.float32)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of all terms and relations, for provenance."""
        return self.digest_of(self.terms)

    def digest_of(self, terms: Collection[str]) -> str:
        """Digest of some terms and of the relations between them; names do not count."""
        among = set(terms)
        lines = (f"{term} {' '.join(sorted(self._known(term).parents))}" for term in sorted(among))
        closed = (f"{term} {' '.join(sorted(self.ancestors(term) & among))}" for term in sorted(among))
        return hashlib.sha256("\n".join([*lines, *closed]).encode()).hexdigest()

    def _known(self, term: str) -> Term:
        if term not in self.terms:
            raise UserError(self._absent(term))
        return self.terms[term]

    def _absent(self, term: str) -> str:
        if term in self.terms:
            instead = self.current(term)
            advice = f"use {instead} ({self.name(instead)}) instead" if instead else "nothing replaces it"
            return f"Cell Ontology {self.version}: {term} ({self.terms[term].name}) is obsolete; {advice}."
        return unknown(f"Cell Ontology {self.version}: term", term, self.ids, limit=3)

    def _closure(self) -> dict[str, frozenset[str]]:
        """Ancestors of every term, parents before children."""
        missing = {term: len(self.terms[term].parents) for term in self.ids}
        ready = [term for term, count in missing.items() if count == 0]
        found: dict[str, frozenset[str]] = {}
        while ready:
            term = ready.pop()
            parents = self.terms[term].parents
            found[term] = frozenset(parents).union(*(found[parent] for parent in parents))
            for child in self._children[term]:
                missing[child] -= 1
                if missing[child] == 0:
                    ready.append(child)
        if len(found) < len(self.ids):
            raise ValueError(f"{next(term for term in self.ids if term not in found)}: is its own ancestor")
        return found


@functools.cache
def cell_ontology() -> Ontology:
    """The Cell Ontology of the installed package cellxgene-ontology-guide; the same object every time."""
    from cellxgene_ontology_guide.supported_versions import CXGSchema

    schema = CXGSchema()
    raw = schema.ontology("CL")
    return Ontology({term: _term(entry) for term, entry in raw.items()}, schema.supported_ontologies["CL"]["version"])


def _term(entry: Mapping[str, Any]) -> Term:
    """An entry of the package's file; its `ancestors` hold the steps to each, so those at one step are the parents."""
    obsolete = bool(entry["deprecated"])
    return Term(
        name=entry["label"],
        synonyms=tuple(entry.get("synonyms", ())),
        parents=() if obsolete else tuple(sorted(term for term, steps in entry["ancestors"].items() if steps == 1)),
        obsolete=obsolete,
        replacement=entry.get("replaced_by"),
        consider=tuple(term.replace("obo.", "").replace("_", ":") for term in entry.get("consider", ())),
    )
