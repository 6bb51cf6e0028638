"""What genes are called: ids, symbols, Ensembl ids, and the tables that translate between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})(\.\d+)?(_PAR_Y)?")

OTHER_IDS = ("symbol", "ensembl")
"""Columns that a table of genes may hold beside its id column; they are carried along and matched too."""


@dataclass(frozen=True)
class GeneNames:
    """Names of n genes, row by row; an unknown name is "".

    ids: as the table or data set calls its genes (symbols, Ensembl ids or anything else). symbols, ensembl: further
    names; empty lists where there are none.
    """

    ids: Sequence[str]
    symbols: Sequence[str] = field(default=())
    ensembl: Sequence[str] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    def symbols_of(self, row: int) -> list[str]:
        """Names of a gene that are no Ensembl ids, the best first."""
        names = [self.symbols[row]] if self.symbols else []
        return [name for name in dict.fromkeys([*names, self.ids[row]]) if name and not ensembl_stem(name)]

    def ensembl_of(self, row: int) -> list[str]:
        """Ensembl ids of a gene, without version."""
        columns = (self.ids, self.ensembl, self.symbols)
        return list(dict.fromkeys(stem for c in columns if c and (stem := ensembl_stem(c[row]))))

    def take(self, rows: Sequence[int]) -> GeneNames:
        """The names of some genes, in the order of `rows`."""
        columns = (self.ids, self.symbols, self.ensembl)
        return GeneNames(*([column[row] for row in rows] if column else [] for column in columns))

    @property
    def other_ids(self) -> dict[str, list[str]]:
        """The further names as columns of a table."""
        columns = {"symbol": self.symbols, "ensembl": self.ensembl}
        return {name: list(values) for name, values in columns.items() if values}


def ensembl_stem(name: str) -> str:
    """ENSG00000139618.17 -> ENSG00000139618; "" for anything that is no Ensembl gene id."""
    match = _ENSEMBL.fullmatch(name)
    return match.group(1) if match else ""


def names_from(table: Any, id_column: str) -> GeneNames:
    """Names from a pandas table: its id column, and the columns `symbol` and `ensembl` where it has them."""
    other = {column: text_column(table[column]) for column in OTHER_IDS if column in table and column != id_column}
    return GeneNames(text_column(table[id_column]), other.get("symbol", ()), other.get("ensembl", ()))


def text_column(values: Any) -> list[str]:
    """A pandas column as stripped strings, missing values as ""."""
    return [str(v).strip() for v in values.astype(object).where(values.notna(), "")]


def kind(names: GeneNames) -> str:
    """What most ids are, in words: "Ensembl ids of ENSMUSG", "numbers", "symbols as in mouse" or "symbols"."""
    half = len(names) / 2
    prefixes = [stem.rstrip("0123456789") for name in names.ids if (stem := ensembl_stem(name))]
    if len(prefixes) > half:
        return f"Ensembl ids ({max(set(prefixes), key=prefixes.count)}...)"
    if sum(name.isdigit() for name in names.ids) > half:
        return "numbers"
    words = [name for name in (names.symbols or names.ids) if name[:2].isalpha()]
    if sum(word[:1].isupper() and word[1:].islower() for word in words) > half:
        return "symbols as in mouse (Actb)"
    if sum(word.isupper() for word in words) > half:
        return "symbols as in human (ACTB)"
    return "symbols"
