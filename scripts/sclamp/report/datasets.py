"""The card of a data set: cells, genes, labels and batches, split, what the checks found, coverage of gene priors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError
from sclamp.core.files import read_table
from sclamp.data.h5ad import opened, read_frame, read_uns
from sclamp.report.plan import Plan

SPLITS = ("train", "val", "test")
MOST = 40
"""Rows and columns of a table of counts at most."""


class Counts(NamedTuple):
    """A cross table of cells. rows: (name, counts per column, sum)."""

    columns: list[str]
    rows: list[tuple[str, list[int], int]]
    left_out: int


class Finding(NamedTuple):
    """What a check found. level: error, warning, skipped or ok."""

    check: str
    level: str
    message: str


class Card(NamedTuple):
    """Facts about one data set; what is not known yet is None or empty."""

    name: str
    facts: list[tuple[str, str]]
    by_split: Counts | None
    by_batch: Counts | None
    findings: list[Finding]
    selections: list[tuple[str, str]]
    settings: dict[str, Any]
    provenance: dict[str, Any]


def card(plan: Plan, name: str) -> Card:
    """Read a data set's results; a file that is missing or damaged leaves its part of the card empty."""
    folder = plan.folder(name)
    facts: list[tuple[str, str]] = []
    tables: tuple[Counts | None, Counts | None] = (None, None)
    provenance: dict[str, Any] = {}
    findings = read_findings(folder / "checks.json")
    if (folder / "cells.h5ad").is_file():
        try:
            facts, tables = _cells(folder / "cells.h5ad")
            provenance = read_uns(folder / "cells.h5ad").get("provenance", {})
        except UserError as error:
            findings.append(Finding("cells.h5ad", "error", str(error)))
    selections = [(s, _selection(folder / f"genes/{s}.parquet")) for s in plan.gene_selections]
    return Card(name, facts, *tables, findings, selections, plan.datasets[name], provenance)


def _cells(path: Path) -> tuple[list[tuple[str, str]], tuple[Counts | None, Counts | None]]:
    with opened(path) as file:
        obs, n_genes = read_frame(file, "obs"), len(read_frame(file, "var"))
        stored = file["X"]["data"].shape[0]
    facts = [("Cells", f"{len(obs):,}"), ("Genes", f"{n_genes:,}")]
    batches = obs["batch"].nunique() if "batch" in obs else 0
    facts.append(("Batches", f"{batches}" if batches > 1 else "none"))
    facts.append(("Cell types", f"{obs['label'].nunique()}" if "label" in obs else "none given"))
    if "split" in obs:
        sizes = obs["split"].value_counts()
        facts.append(("Train / val / test", " / ".join(f"{int(sizes.get(s, 0)):,}" for s in SPLITS)))
    if "library_size" in obs:
        facts.append(("Median counts per cell", f"{obs['library_size'].median():,.0f}"))
    if "n_genes" in obs:
        facts.append(("Median genes per cell", f"{obs['n_genes'].median():,.0f}"))
    facts.append(("Zeros", f"{1 - stored / max(len(obs) * n_genes, 1):.1%}"))
    rows = "label" if "label" in obs else "batch"
    by_split = _crossed(obs, rows, "split", SPLITS) if {rows, "split"} <= set(obs) else None
    by_batch = _crossed(obs, "label", "batch") if "label" in obs and batches > 1 else None
    return facts, (by_split, by_batch)


def _crossed(obs: pd.DataFrame, rows: str, columns: str, order: tuple[str, ...] = ()) -> Counts:
    named = obs[rows].astype(object).where(obs[rows].notna(), "not known")
    table = pd.crosstab(named, obs[columns].astype(object))
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    names = [c for c in order if c in table] or list(table.sum().sort_values(ascending=False, kind="stable").index)
    shown = names[:MOST]
    top = table.iloc[:MOST]
    body = [(str(row), [int(n) for n in top.loc[row, shown]], int(top.loc[row].sum())) for row in top.index]
    return Counts([str(c) for c in shown], body, max(0, len(table) - MOST) + max(0, len(names) - MOST))


def _selection(path: Path) -> str:
    """One sentence on a gene selection."""
    if not path.is_file():
        return "not made"
    table = read_table(path).to_pandas()
    chosen = table["selected"].to_numpy(dtype=bool)
    words = f"{chosen.sum():,} of {len(table):,} genes"
    if "umi_share" in table:
        words += f", {np.nansum(table['umi_share'].to_numpy()[chosen]):.1%} of all counts"
    return words


def read_findings(path: Path) -> list[Finding]:
    """What check_dataset.py found, errors first; a note when there is no such file."""
    if not path.is_file():
        return [Finding("check", "error", "The check of this data set did not finish; see the logs.")]
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["findings"]
        found = [Finding(str(row["check"]), str(row["level"]), str(row["message"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Finding("check", "error", f"{path}: cannot be read ({type(error).__name__}: {error}).")]
    order = ["error", "warning", "skipped", "ok"]
    return sorted(found, key=lambda f: order.index(f.level) if f.level in order else len(order))
