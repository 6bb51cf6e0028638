"""Priors that a data set makes itself, from its genes or cells, and controls made of a matched prior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.config.gene_priors import AnyGenePrior, ExpressionPrior, OneHotPrior
from sclamp.core.errors import UserError
from sclamp.priors import controls
from sclamp.priors.align import Aligned, read_aligned
from sclamp.priors.coverage import coverage
from sclamp.priors.match import Match
from sclamp.priors.selection import SelectedGenes


def from_dataset(counts: str | Path, genes: SelectedGenes, settings: AnyGenePrior) -> tuple[Aligned, dict[str, Any]]:
    """Vectors of all selected genes by source expression or onehot. Errors: another source, counts of other genes."""
    ids = list(genes.names.ids)
    if isinstance(settings, OneHotPrior):
        vectors = controls.onehot(len(ids))
    elif isinstance(settings, ExpressionPrior):
        from sclamp.priors.expression import expression_vectors

        counted, vectors = expression_vectors(counts, settings.width)
        if counted != ids:
            raise UserError(f"{counts}: holds other genes, or another order, than the table of the selection.")
    else:
        raise UserError(f"source {settings.source}: --prior (or --of, for a control) is required.")
    own = Aligned(np.arange(len(ids)), vectors, ["own"] * len(ids), ids)
    return own, _complete(genes, own, settings)


def control_of(path: str | Path, genes: SelectedGenes, settings: AnyGenePrior) -> tuple[Aligned, dict[str, Any]]:
    """A control of a matched prior: filled genes keep their filling, all others get the control's vectors."""
    if settings.source not in {"shuffled", "gaussian", "onehot"}:
        raise UserError(f"--of: is for sources shuffled, gaussian and onehot, not for {settings.source}.")
    parent = read_aligned(path, genes.names.ids)
    real = np.array([way != "filled" for way in parent.matched_by])
    if isinstance(settings, OneHotPrior):
        vectors = np.zeros((len(real), int(real.sum())), np.float32)
        vectors[real] = controls.onehot(int(real.sum()))
    else:
        vectors = parent.vectors.copy()
        vectors[real] = getattr(controls, settings.source)(parent.vectors[real], settings.seed)
    return replace(parent, vectors=vectors), _complete(genes, parent, settings)


def _complete(genes: SelectedGenes, aligned: Aligned, settings: AnyGenePrior) -> dict[str, Any]:
    """The report of a prior without matching of its own: which genes have a vector."""
    match = Match([[] for _ in genes.names.ids], [""] * len(genes.names), [False] * len(genes.names))
    for gene, way in zip(aligned.positions.tolist(), aligned.matched_by, strict=True):
        if way != "filled":
            match.rows[gene], match.way[gene] = [gene], way
    return coverage(genes, match, settings.matching)
