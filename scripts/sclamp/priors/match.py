"""Which row of a gene prior belongs to which gene of a data set.

Four ways, in this order: symbol, alias, Ensembl id without version, ortholog table. All four are tried with names as
they are written; then, for genes still without a row, again with upper and lower case taken as equal. A name that leads
to several genes of the prior leads to none of them: it is reported as ambiguous. An alias, or a name in other case,
never takes the row of a gene that the data set has under its own name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sclamp.priors.names import GeneNames, ensembl_stem

WAYS = ("symbol", "alias", "ensembl", "ortholog")
Pairs = Sequence[tuple[str, str]]
Candidates = dict[str, list[int]]
"""Name in the prior -> its rows (none where a table names a gene that the prior lacks)."""


@dataclass
class Match:
    """The outcome for the n genes of a data set.

    rows: for each gene the rows of the prior that belong to it (several where the prior repeats the gene, none where
    it is missing). way: how it was found, one of `WAYS`, or "". other_case: found only when case was ignored.
    ambiguous: position of a gene -> the names in the prior between which nothing decides.
    """

    rows: list[list[int]]
    way: list[str]
    other_case: list[bool]
    ambiguous: dict[int, list[str]] = field(default_factory=dict)


def match_genes(genes: GeneNames, prior: GeneNames, aliases: Pairs = (), orthologs: Pairs = ()) -> Match:
    """Find the prior's rows for each gene.

    aliases: (alias, symbol). orthologs: (gene of the data set, gene of the prior), by symbol or Ensembl id.
    """
    match = Match([[] for _ in genes.ids], [""] * len(genes), [False] * len(genes))
    for key in (str, str.casefold):
        lookup = _Lookup(prior, aliases, orthologs, key)
        crowded = _crowded(genes, key)
        for way in WAYS:
            taken = {row for rows, how in zip(match.rows, match.way, strict=True) if how == "symbol" for row in rows}
            for gene in range(len(genes)):
                if match.rows[gene] or crowded.intersection(map(key, genes.symbols_of(gene))):
                    continue
                found = lookup.candidates(way, genes, gene)
                if way == "alias" or key is not str:
                    found = {name: rows for name, rows in found.items() if not taken.intersection(rows)}
                _decide(match, gene, way, found, ignored_case=key is not str)
    return match


def _decide(match: Match, gene: int, way: str, found: Candidates, ignored_case: bool) -> None:
    if len(found) > 1:
        match.ambiguous[gene] = sorted(found)
        return
    rows = next(iter(found.values()), [])
    if rows:
        match.rows[gene], match.way[gene], match.other_case[gene] = rows, way, ignored_case
        match.ambiguous.pop(gene, None)


def _crowded(genes: GeneNames, key: Callable[[str], str]) -> set[str]:
    """Keys under which differently written symbols of the data set fall together: case decides there."""
    spellings = {name for gene in range(len(genes)) for name in genes.symbols_of(gene)}
    return {name for name, n in Counter(map(key, spellings)).items() if n > 1}


class _Lookup:
    """The names of a prior and the translation tables, under a key that keeps or ignores case."""

    def __init__(self, prior: GeneNames, aliases: Pairs, orthologs: Pairs, key: Callable[[str], str]) -> None:
        self._key = key
        self._symbols: dict[str, Candidates] = defaultdict(dict)
        self._ensembl: Candidates = {}
        for row in range(len(prior)):
            for name in prior.symbols_of(row):
                self._symbols[key(name)].setdefault(name, []).append(row)
            for name in prior.ensembl_of(row):
                self._ensembl.setdefault(name, []).append(row)
        self._present = _grouped(aliases, key)
        self._former = _grouped(((symbol, alias) for alias, symbol in aliases), key)
        self._orthologs = _grouped(orthologs, key)

    def candidates(self, way: str, genes: GeneNames, gene: int) -> Candidates:
        """What one way offers for one gene."""
        symbols, stems = genes.symbols_of(gene), genes.ensembl_of(gene)
        if way == "symbol":
            return next((found for name in symbols if (found := self._find(name))), {})
        if way == "alias":
            return self._by_alias([*symbols, *stems])
        if way == "ensembl":
            return {name: self._ensembl[name] for name in stems if name in self._ensembl}
        targets = [target for name in [*stems, *symbols] for target in self._orthologs.get(self._key(name), ())]
        return {name: rows for target in targets for name, rows in self._find(target).items()}

    def _by_alias(self, names: list[str]) -> Candidates:
        """Present symbols of a former one (known to the prior or not), and former ones that mean nothing else."""
        found: Candidates = {}
        for name in names:
            for symbol in self._present.get(self._key(name), ()):
                found |= self._find(symbol) or {symbol: []}
            for alias in self._former.get(self._key(name), ()):
                if len(self._present[self._key(alias)]) == 1:  # else the former name may mean another gene
                    found |= self._find(alias)
        return found

    def _find(self, name: str) -> Candidates:
        """Rows by symbol, in every spelling that the key allows, or by Ensembl id."""
        by_id = {name: self._ensembl[name]} if name in self._ensembl else {}
        return self._symbols.get(self._key(name), {}) or by_id


def _grouped(pairs: Iterable[tuple[str, str]], key: Callable[[str], str]) -> dict[str, dict[str, None]]:
    """Key of the first name -> the second names, each once, in the table's order; Ensembl ids without version."""
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for first, second in pairs:
        groups[key(ensembl_stem(first) or first)][ensembl_stem(second) or second] = None
    return groups
