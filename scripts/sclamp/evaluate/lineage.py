"""Labels in the Cell Ontology: how far apart they are, and what each of them is a kind of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from sclamp.ontology.labels import map_labels
from sclamp.ontology.terms import ROOT, Ontology, cell_ontology


class Lineage:
    """Labels (c,) and the terms that they mean.

    terms: ids in the ontology, None for a label that no term has. notes: why there is none, with suggestions.
    """

    def __init__(
        self, labels: Sequence[str], table: Mapping[str, str | None] | None = None, ontology: Ontology | None = None
    ) -> None:
        """table: label -> term, where its name is not enough, or None. ontology: another than the Cell Ontology."""
        self.labels = tuple(labels)
        self._ontology = ontology or cell_ontology()
        given = {label: term for label, term in (table or {}).items() if term is not None}
        without = {label for label, term in (table or {}).items() if term is None}
        mapped = map_labels([label for label in self.labels if label not in without], given, self._ontology)
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

    def steps_up(self, code: int, ancestor: str) -> float:
        """Fewest steps from a label up to a term; NaN where the label is not a kind of it, or one is not there."""
        term = self.terms[code]
        steps, level = 0, {term} if term else set()
        while level and ancestor not in level:
            steps, level = steps + 1, {parent for one in level for parent in self._ontology.parents(one)}
        return float(steps) if level else float("nan")
