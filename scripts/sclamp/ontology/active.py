"""The part of an ontology that a classifier distinguishes: the terms of its labels and all their ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sclamp.ontology.terms import Ontology


@dataclass(frozen=True)
class ActiveTerms:
    """Terms in order, and which of them are kinds of which.

    above, below (pairs,) int64: positions of a term and of one that it includes, every term including itself; sorted.
    """

    terms: tuple[str, ...]
    above: np.ndarray
    below: np.ndarray

    @property
    def n_ancestors(self) -> np.ndarray:
        """Active terms that each term is a kind of, (terms,): the more, the more specific."""
        return np.bincount(self.below, minlength=len(self.terms)) - 1

    @property
    def leaves(self) -> np.ndarray:
        """Positions of the terms that include no other."""
        return np.flatnonzero(np.bincount(self.above, minlength=len(self.terms)) == 1)

    def shares(self, positions: Sequence[int]) -> np.ndarray:
        """Whose a term is, among labels at these positions (-1: a label without a term): (terms, labels), float32.

        A term belongs to the most specific labels that include it, in equal parts; one that no label includes belongs
        to none.
        """
        includes = np.zeros((len(self.terms), len(self.terms)), dtype=bool)
        includes[self.above, self.below] = True
        at = np.asarray(positions, dtype=np.int64)
        owns = includes[at].T & (at >= 0)
        narrower = includes[np.ix_(at, at)] & ~includes[np.ix_(at, at)].T  # [wide, narrow] label
        owns &= ~((owns.astype(np.float32) @ narrower.T.astype(np.float32)) > 0)
        return (owns / np.maximum(owns.sum(1, keepdims=True), 1)).astype(np.float32)


def active_terms(ontology: Ontology, chosen: Iterable[str]) -> ActiveTerms:
    """The chosen terms and all their ancestors, sorted by id."""
    found = {term for one in chosen for term in (one, *ontology.ancestors(one))}
    terms = tuple(sorted(found))
    where = {term: i for i, term in enumerate(terms)}
    pairs = sorted((where[up], where[term]) for term in terms for up in (term, *ontology.ancestors(term)))
    above, below = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return ActiveTerms(terms, above.copy(), below.copy())
