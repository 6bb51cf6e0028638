"""Labels in the Cell Ontology: how far apart they are, and what each of them is a kind of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from sclamp.ontology.labels import map_labels
from sclamp.ontology.terms import ROOT, Ontology, cell_ontology


class Lineage:
    """Labels (c,) and the terms that they mean.

    terms: ids in the ontology, None for a label that no term has. notes: why there is none, with suggestions.
    """

    def __init__(self, labels: Sequence[str], ontology: Ontology | None = None) -> None:
        """ontology: the Cell Ontology unless given."""
        self.labels = tuple(labels)
        self._ontology = ontology or cell_ontology()
        mapped = map_labels(self.labels, ontology=self._ontology)
        self.terms = [mapped.terms.get(label) for label in self.labels]
        self.notes = list(mapped.problems.values())

    @cached_property
    def distances(self) -> np.ndarray:
        """Steps between each two labels, (c, c) float64; infinite where no path leads or a label has no term."""
        found = np.full((len(self.terms), len(self.terms)), np.inf)
        at = [i for i, term in enumerate(self.terms) if term is not None]
        known = [term for term in self.terms if term is not None]
        found[np.ix_(at, at)] = self._ontology.distances(known)
        return found

    @cached_property
    def kinds(self) -> list[frozenset[str]]:
        """The term of each label and all terms that it is a kind of, but "cell", which says nothing.

        A label without a term is a kind of itself alone.
        """
        return [
            frozenset({label}) if term is None else (self._ontology.ancestors(term) | {term}) - {ROOT}
            for label, term in zip(self.labels, self.terms, strict=True)
        ]
