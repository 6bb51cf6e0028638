"""Which term of the Cell Ontology a label of a dataset means: by id, name, synonym, or the user's own table."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sclamp.core.errors import UserError
from sclamp.ontology.terms import Ontology, cell_ontology

_ID = re.compile(r"CL[:_](\d{7})", re.IGNORECASE)
_GREEK = {"\u03b1": "alpha", "\u03b2": "beta", "\u03b3": "gamma", "\u03b4": "delta", "\u03b5": "epsilon"}
SUGGESTIONS = 3
"""Nearest names that are shown for a label that no term has."""


@dataclass(frozen=True)
class Mapped:
    """What became of labels, in their order. terms: label -> id of a current term.

    problems: label -> why it has none, with the nearest names. Labels that the table leaves out are in neither.
    """

    terms: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def complete(self) -> dict[str, str]:
        """The terms; `UserError` with every problem if there are any."""
        if self.problems:
            raise UserError(*self.problems.values())
        return self.terms


def map_labels(
    labels: Iterable[str], table: Mapping[str, str | None] | None = None, ontology: Ontology | None = None
) -> Mapped:
    """Find the term of each label.

    table: the user's own label -> id or name, which wins; None for a label that has no term and needs none. Otherwise
    a label counts, in this order, as an id, a name, a synonym, and as a name without or with the word "cell" at its
    end; upper and lower case, plurals, Greek letters, hyphens, underscores and a "+" for "positive" make no
    difference. An obsolete term gives way to what replaces it. A label that fits several terms fits none.
    """
    ontology, table = ontology or cell_ontology(), table or {}
    mapped = Mapped()
    for label in dict.fromkeys(labels):
        wanted = table.get(label, label)
        if wanted is None:
            continue
        found = _find(wanted, ontology)
        if len(found) == 1:
            mapped.terms[label] = found[0]
        else:
            said = f"label '{label}'" + (f" (in the table: '{wanted}')" if label in table else "")
            mapped.problems[label] = f"{said}: {_why(wanted, found, ontology)}"
    return mapped


def normal(text: str) -> str:
    """A name as it is compared: lower case, singular words, one space between them."""
    text = unicodedata.normalize("NFKC", text).lower().strip()
    for letter, word in _GREEK.items():
        text = text.replace(letter, f" {word} ")
    text = re.sub(r"\+(?=$|[\s,_/)-])", " positive ", text)
    words = re.sub(r"[^\w+.']+|_", " ", text).split()
    return " ".join(_singular(word) for word in words)


def _singular(word: str) -> str:
    """The word without the "s" of a plural; names are compared with each other, so that it need not be English."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _find(text: str, ontology: Ontology) -> list[str]:
    """Current terms that a text means: none, one, or several that it fits equally well."""
    if match := _ID.fullmatch(text.strip()):
        current = ontology.current(f"CL:{match[1]}")
        return [current] if current else []
    if text in ontology.terms:  # ids of other forms, in ontologies that are not the Cell Ontology
        return [current] if (current := ontology.current(text)) else []
    plain = normal(text)
    names, synonyms, obsolete = _names(ontology)
    # With "cell" added or taken away only preferred names count: "alpha" is not the mouse's retinal "alpha cell".
    for name, tier in ((plain, names), (plain, synonyms), (_with_cell(plain), names), (plain, obsolete)):
        if name in tier:
            return sorted(tier[name])
    return []


def _with_cell(plain: str) -> str:
    """The name with the word "cell" at its end, or without it where it has one."""
    return plain.removesuffix(" cell") if plain.endswith(" cell") else f"{plain} cell"


@functools.lru_cache(maxsize=8)
def _names(ontology: Ontology) -> tuple[dict[str, set[str]], ...]:
    """Normalised names -> current terms, the better first: names, synonyms, those of obsolete terms."""
    tiers: tuple[dict[str, set[str]], ...] = ({}, {}, {})
    for term, what in ontology.terms.items():
        current = ontology.current(term)
        if current is None:
            continue
        names = {normal(what.name), normal(what.name.removeprefix("obsolete "))} - {""}
        synonyms = {normal(synonym) for synonym in what.synonyms} - {""}
        for tier, found in ((2, names | synonyms),) if what.obsolete else ((0, names), (1, synonyms)):
            for name in found:
                tiers[tier].setdefault(name, set()).add(current)
    return tiers


def _why(text: str, found: list[str], ontology: Ontology) -> str:
    if found:
        return f"fits several terms: {_listed(found, ontology)}; name one of them by its id."
    match = _ID.fullmatch(text.strip())
    term = f"CL:{match[1]}" if match else text
    if term in ontology.terms:
        candidates = [c for c in dict.fromkeys(map(ontology.current, ontology.terms[term].consider)) if c]
        advice = f"; consider {_listed(candidates, ontology)}" if candidates else ""
        return f"{term} is obsolete in Cell Ontology {ontology.version} and nothing replaces it{advice}."
    if match:
        return f"Cell Ontology {ontology.version} has no such term."
    near = nearest_terms(text, ontology)
    advice = f"; the nearest names are {_listed(near, ontology)}" if near else ""
    return f"no term of Cell Ontology {ontology.version} has such a name{advice}."


def nearest_terms(text: str, ontology: Ontology) -> list[str]:
    """Terms whose names or synonyms look most like a text, the nearest first; few or none."""
    names, synonyms, _ = _names(ontology)
    known = {name: (names if name in names else synonyms)[name] for name in (*names, *synonyms)}
    plain = normal(text)
    words = set(plain.split())
    likeness = {name: _likeness(plain, words, name) for name in known}
    found = sorted((name for name, value in likeness.items() if value > 0), key=lambda name: (-likeness[name], name))
    found = found[: 4 * SUGGESTIONS] or difflib.get_close_matches(plain, known, n=SUGGESTIONS, cutoff=0.6)
    terms = dict.fromkeys(term for name in found for term in sorted(known[name]))
    return list(terms)[:SUGGESTIONS]


def _likeness(plain: str, words: set[str], name: str) -> float:
    """How much a name has in common with a text of these words; 0 where less than half of the words are in it."""
    parts = name.split()
    if name == _with_cell(plain) or plain == "".join(part[0] for part in parts):
        return len(words) + 1.0
    shared = sum(_in(word, parts) for word in words)
    return shared - 0.1 * len(parts) if 2 * shared >= len(words) else 0.0


def _in(word: str, parts: list[str]) -> float:
    """Whether a word is one of the parts of a name (1), or the beginning of one (0.8)."""
    if word in parts:
        return 1.0
    return 0.8 if len(word) > 3 and any(part.startswith(word) for part in parts) else 0.0


def _listed(terms: Iterable[str], ontology: Ontology) -> str:
    return ", ".join(f"{term} ({ontology.name(term)})" for term in terms)
