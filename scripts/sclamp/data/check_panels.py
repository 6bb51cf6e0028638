"""Checks of the genes that several files have: what they share decides whether their cells can be compared."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from sclamp.data.findings import Finding
from sclamp.data.joined import Joined
from sclamp.data.panels import Panels
from sclamp.data.sources import Source

FEWEST_SHARED = 50
"""Genes that link two panels; with fewer, nothing says where the cells of one lie among those of the other."""

SMALL_SHARE = 0.1
"""Share of the smaller panel's genes on the larger one below which the link is called weak."""

FEW_KEPT = 0.5
"""Share of the smallest file's genes below which an inner join leaves out more than it keeps."""

_SHOWN = 5


def panel_findings(source: Source, join: str) -> list[Finding]:
    """How many genes each panel has, how many are shared, and which panels next to nothing links."""
    if not isinstance(source, Joined):
        return []
    if join == "inner":
        return _inner(source)
    panels = source.panels()
    if panels is None:
        return []
    shared = panels.measured.astype(np.int64) @ panels.measured.T.astype(np.int64)
    return [_sizes(panels), *_unlinked(panels, shared), *_weak(panels, shared)]


def lost_findings(source: Source, keep_cells: np.ndarray) -> list[Finding]:
    """A warning about panels of which no cell passes quality control: few genes mean few counts."""
    if (panels := source.panels()) is None:
        return []
    left = np.bincount(panels.of_cell[keep_cells], minlength=len(panels.names))
    lost = [f"'{name}'" for name, n in zip(panels.names, left, strict=True) if not n]
    if not lost:
        return []
    message = (
        f"quality: no cell of the gene panels {', '.join(lost[:_SHOWN])} ({len(lost)} of {len(left)}) passes; cells "
        "are judged on the genes of their panel: lower min_genes or min_counts, or leave the files out."
    )
    return [Finding("panels", "warning", message)]


def _inner(source: Joined) -> list[Finding]:
    sizes = {name: len(ids) for name, ids in source.files_have.items()}
    kept, smallest = len(source.var), min(sizes, key=lambda name: sizes[name])
    message = f"join: the {len(sizes)} files share {kept} genes; the smallest, '{smallest}', has {sizes[smallest]}"
    if kept >= FEW_KEPT * sizes[smallest]:
        return [Finding("panels", "ok", message)]
    return [Finding("panels", "warning", f"{message}. The others are left out; join: outer keeps all genes.")]


def _sizes(panels: Panels) -> Finding:
    cells, genes = np.bincount(panels.of_cell, minlength=len(panels.names)), panels.measured.sum(1)
    each = [f"'{name}' {n} genes in {m} cells" for name, n, m in zip(panels.names, genes, cells, strict=True)]
    more = f", and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    shared = int(panels.measured.all(0).sum())
    return Finding("panels", "ok", f"{len(each)} gene panels: {', '.join(each[:_SHOWN])}{more}; {shared} genes on all")


def _unlinked(panels: Panels, shared: np.ndarray) -> list[Finding]:
    """An error where the panels fall apart into groups that nothing links, not even by way of other panels."""
    reached = {0}
    while more := {int(p) for p in np.flatnonzero((shared[sorted(reached)] >= FEWEST_SHARED).any(0))} - reached:
        reached |= more
    apart = [p for p in range(len(panels.names)) if p not in reached]
    if not apart:
        return []
    names = ", ".join(f"'{panels.names[p]}'" for p in apart[:_SHOWN])
    most = int(shared[np.ix_(sorted(reached), apart)].max())
    message = (
        f"path: the gene panels {names} ({len(apart)} of {len(panels.names)}) share at most {most} genes with the rest "
        f"('{panels.names[0]}' and what is linked to it), at least {FEWEST_SHARED} are needed to train on both; are "
        "the gene ids of one kind (gene_ids)?"
    )
    return [Finding("panels", "error", message)]


def _weak(panels: Panels, shared: np.ndarray) -> list[Finding]:
    """A warning about pairs of panels with next to no overlap."""
    pairs = []
    for p, q in combinations(range(len(panels.names)), 2):
        smaller = min(shared[p, p], shared[q, q])
        if shared[p, q] < max(SMALL_SHARE * smaller, FEWEST_SHARED):
            pairs.append(f"'{panels.names[p]}' and '{panels.names[q]}' ({shared[p, q]} of {smaller} genes)")
    if not pairs:
        return []
    shown = ", ".join(pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
    message = (
        f"path: {len(pairs)} pairs of gene panels have next to no gene in common: {shown}; their cells may not mix."
    )
    return [Finding("panels", "warning", message)]
