"""Checks of gene identifiers and gene selections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data.findings import Finding
from sclamp.data.gene_lists import listed_genes
from sclamp.data.genes import id_type, species
from sclamp.data.prepare import FEWEST_GENES

SMALL_BATCH = 50
"""Training cells below which a batch rarely carries a variance trend of its own."""

_KINDS = {
    "symbol": "gene symbols",
    "ensembl": "Ensembl ids",
    "ensembl_versioned": "Ensembl ids with version",
    "entrez": "Entrez numbers",
}


def identifier_findings(
    ids: np.ndarray, symbols: np.ndarray, has_symbols: bool, columns: Sequence[str] = ()
) -> list[Finding]:
    """What kind of ids the genes have, and which species they suggest. columns: of var, to choose symbols from."""
    kind, guess = id_type(ids), species(symbols if has_symbols else ids)
    message = f"{len(ids)} genes, identified by {_KINDS[kind]} (such as {ids[0]}); species: {guess}"
    findings = [Finding("gene ids", "ok", message)]
    if kind != "symbol" and not has_symbols:
        known = f"Columns of var: {', '.join(columns)}." if columns else "This file has no column in var."
        message = f"gene_symbols: the genes have {_KINDS[kind]} and no symbols; name a column of var with them. {known}"
        findings.append(Finding("gene ids", "warning", message))
    others = int(sum(id_type(np.array([i])) != kind for i in ids)) if kind.startswith("ensembl") else 0
    if others > 0.05 * len(ids):
        findings.append(
            Finding("gene ids", "warning", f"gene ids are mixed: {others} of {len(ids)} are no {_KINDS[kind]}.")
        )
    return findings


def mito_findings(mitochondrial: np.ndarray, max_share: float | None, prefix: str) -> list[Finding]:
    """A threshold on mitochondrial counts that no gene can reach is a mistake."""
    if mitochondrial.any() or max_share is None:
        return []
    message = f"quality.max_mito_share has no effect: no gene symbol starts with '{prefix}' (quality.mito_prefix)."
    return [Finding("quality", "warning", message)]


def selection_findings(
    name: str, selection: GeneSelection, var: pd.DataFrame, batch_sizes: dict[str, int]
) -> list[Finding]:
    """var: genes that pass quality control, index ids, column symbol. batch_sizes: cells that decide, per batch."""
    check = f"genes '{name}'"
    if selection.flavor == "list":
        return _list_findings(check, selection, var)
    findings = []
    if selection.flavor != "all" and selection.n_genes < FEWEST_GENES:
        message = f"gene_selections.{name}.n_genes: {selection.n_genes}, at least {FEWEST_GENES} are needed."
        findings.append(Finding(check, "error", message))
    if selection.flavor != "all" and selection.n_genes >= len(var):
        message = f"gene_selections.{name}.n_genes: {selection.n_genes} of {len(var)} genes: nothing is left out."
        findings.append(Finding(check, "warning", message))
    small = {batch: n for batch, n in batch_sizes.items() if n < SMALL_BATCH}
    if small and selection.batch_aware and selection.flavor.startswith("seurat_v3"):
        examples = ", ".join(f"'{batch}' ({n})" for batch, n in list(small.items())[:5])
        message = (
            f"gene_selections.{name}: {len(small)} of {len(batch_sizes)} batches have fewer than {SMALL_BATCH} "
            f"{selection.cells} cells ({examples}); the local regression may fail there, and they would not count."
        )
        findings.append(Finding(check, "warning", message))
    n = len(var) if selection.flavor == "all" else min(selection.n_genes, len(var))
    return findings or [Finding(check, "ok", f"{n} genes by {selection.flavor}")]


def _list_findings(check: str, selection: GeneSelection, var: pd.DataFrame) -> list[Finding]:
    notes: list[str] = []
    try:
        n = int(listed_genes(selection, var, notes).sum())
    except UserError as error:
        return [Finding(check, "error", problem) for problem in error.problems]
    findings = [Finding(check, "warning", note) for note in notes]
    if n < FEWEST_GENES:
        message = (
            f"{check}: {n} listed genes are in the data (after quality control), at least {FEWEST_GENES} are needed."
        )
        findings.append(Finding(check, "error", message))
    return findings or [Finding(check, "ok", f"all {n} listed genes are in the data")]
