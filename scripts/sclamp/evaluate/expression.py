"""What scores of an embedding need of the expression itself: computed once per dataset, read for each embedding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table, write_json, write_table
from sclamp.evaluate.scgraph import Consensus

FORMAT = 1


@dataclass(frozen=True)
class Expression:
    """Of n cells.

    cycle (n, 2): scores of S and G2/M phase, NaN where unknown. share_before: cells ("all" | "held_out") -> batch ->
    share of the uncorrected variance that they explain. genes (n, g): log-normalised expression of the most variable
    genes. consensus: distances between labels within batches. reasons: of what is absent ("cell_cycle", "scgraph",
    "morans_i") -> why.
    """

    cycle: np.ndarray | None = None
    share_before: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    genes: np.ndarray | None = None
    consensus: Consensus | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def of(self, cells: np.ndarray) -> Expression:
        """The same of some cells (mask or rows)."""
        cycle = None if self.cycle is None else self.cycle[cells]
        genes = None if self.genes is None else self.genes[cells]
        return Expression(cycle, self.share_before, genes, self.consensus, self.reasons)


def write_expression(
    path: str | Path, cells: str | Path, ids: np.ndarray, found: Expression, more: Mapping[str, Any],
    provenance: dict[str, Any],
) -> None:  # fmt: skip
    """Write the JSON and the table of cells: cell_id, s_score, g2m_score, variable_genes (list of float).

    more: further entries of the JSON (which genes).
    """
    import pyarrow as pa

    agreed = found.consensus
    distances = None if agreed is None else [[None if np.isnan(d) else d for d in row] for row in agreed.distances]
    text = {
        "format": FORMAT,
        **more,
        "share_before": found.share_before,
        "scgraph": None if agreed is None else {"labels": list(agreed.labels), "distances": distances},
        "reasons": dict(found.reasons),
        "provenance": provenance,
    }
    cycle = np.full((len(ids), 2), np.nan) if found.cycle is None else found.cycle
    genes = np.empty((len(ids), 0), np.float32) if found.genes is None else found.genes.astype(np.float32)
    starts = pa.array(np.arange(len(ids) + 1) * genes.shape[1], pa.int32())
    columns = {
        "cell_id": pa.array(ids, pa.string()),
        "s_score": pa.array(cycle[:, 0], pa.float64()),
        "g2m_score": pa.array(cycle[:, 1], pa.float64()),
        "variable_genes": pa.ListArray.from_arrays(starts, pa.array(genes.ravel(), pa.float32())),
    }
    write_table(cells, pa.table(columns), provenance)
    write_json(path, text)


def read_expression(path: str | Path, cells: str | Path) -> tuple[np.ndarray, Expression]:
    """Cell ids and what `write_expression` wrote about them."""
    try:
        text = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise UserError(f"{path}: not a file of describe_expression.py (format {FORMAT}).")
    table = read_table(cells)
    needed = ("cell_id", "s_score", "g2m_score", "variable_genes")
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(*(f"{cells}: " + unknown("column", name, table.column_names) for name in missing))
    cycle = np.column_stack([table[name].to_numpy() for name in needed[1:3]])
    flat = table["variable_genes"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    genes = flat.reshape(len(cycle), -1) if len(flat) else None
    agreed = text["scgraph"] and Consensus(
        tuple(text["scgraph"]["labels"]), np.array(text["scgraph"]["distances"], dtype=np.float64)
    )
    known = None if np.isnan(cycle).all() else cycle
    ids = np.asarray(table["cell_id"].to_pylist(), dtype=object)
    return ids, Expression(known, text["share_before"], genes, agreed, text["reasons"])
