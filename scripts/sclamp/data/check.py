"""Look at a dataset before anything heavy runs: every problem at once, nothing held in memory, seconds.

The checks are the very functions that `prepare` relies on, so what passes here does not stop there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.config.gene_priors import AnyGenePrior
from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data.annotation import annotation_findings
from sclamp.data.check_genes import identifier_findings, mito_findings, selection_findings
from sclamp.data.check_panels import lost_findings
from sclamp.data.check_priors import prior_findings
from sclamp.data.counts import NEARLY_WHOLE, CountVerdict
from sclamp.data.estimates import estimates, words
from sclamp.data.findings import Finding, errors
from sclamp.data.genes import gene_ids, gene_symbols, mitochondrial
from sclamp.data.prepare import ONE_BATCH, unusable
from sclamp.data.quality import Survey, survey
from sclamp.data.sources import Source, open_source
from sclamp.data.splits import TRAIN, split_cells, strings


@dataclass
class Report:
    """findings: all that was looked at. facts: numbers about the dataset, for people and for later rules."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """True when something must be mended before the run."""
        return bool(errors(self.findings))


def check_dataset(dataset: Dataset, selections: dict[str, GeneSelection], priors: dict[str, AnyGenePrior]) -> Report:
    """Check one dataset with the gene selections and gene priors that will be used with it."""
    report = Report()
    try:
        with open_source(dataset) as source:
            _check_source(source, dataset, selections, priors, report)
    except UserError as error:
        report.findings += [Finding("file", "error", problem) for problem in error.problems]
    return report


def _check_source(source: Source, dataset: Dataset, selections: Any, priors: Any, report: Report) -> None:
    report.findings += annotation_findings(source, dataset)
    ids = _or_index(source, lambda: gene_ids(source, dataset.gene_ids))
    symbols = _or_index(source, lambda: gene_symbols(source, dataset.gene_symbols, ids))
    has_symbols = dataset.gene_symbols is not None or "symbol" in source.var
    columns = [str(column) for column in source.var.columns]
    report.findings += identifier_findings(ids, symbols, has_symbols, columns) if len(ids) else []
    mito = mitochondrial(symbols, dataset.quality.mito_prefix)
    report.findings += mito_findings(mito, dataset.quality.max_mito_share, dataset.quality.mito_prefix)
    seen = survey(source, mito, dataset.quality)
    report.findings += _count_findings(source, dataset, seen) + _quality_findings(seen)
    report.findings += lost_findings(source, seen.keep_cells)
    report.facts |= estimates(source.shape, seen)
    report.findings.append(Finding("sizes", "ok", words(report.facts)))
    var = pd.DataFrame(
        {"symbol": symbols[seen.keep_genes], "total_counts": seen.total_counts[seen.keep_genes]},
        index=pd.Index(ids[seen.keep_genes], dtype=object),
    )
    kept = source.obs[seen.keep_cells]
    split = _split(kept, dataset, report) if len(kept) else None
    for name, selection in selections.items():
        report.findings += selection_findings(name, selection, var, _batch_sizes(kept, split, dataset, selection))
    for name, prior in priors.items():
        report.findings += prior_findings(name, prior, var) if len(var) else []


def _or_index(source: Source, read: Any) -> np.ndarray:
    """Gene annotation, or the var index where the configured column does not exist (which is reported already)."""
    try:
        values: np.ndarray = read()
    except UserError:
        values = source.var.index.to_numpy(dtype=object)
    return np.where(pd.isna(values), "", values).astype(object)


def _count_findings(source: Source, dataset: Dataset, seen: Survey) -> list[Finding]:
    """Whether the values are counts; if not, where else in the file there are some."""
    verdict = seen.verdict
    if verdict.are_counts:
        message = (
            f"{dataset.counts}: all {verdict.n_values} stored values are counts, the largest is {verdict.largest:g}"
        )
        if source.n_rounded:
            message += f"; {source.n_rounded} were not whole and are rounded"
        return [Finding("counts", "ok", message)]
    problem = verdict.problem(dataset.counts)
    places = [name for name, other in source.elsewhere().items() if _starts_with_counts(other)]
    hint = f" Counts seem to be in {' and '.join(places)}: set counts to it." if places else ""
    if verdict.n_fractional and verdict.kind in {"", NEARLY_WHOLE} and not places:
        hint = " If they are counts, estimated from reads or corrected, set fractions: round."
    return [Finding("counts", "error", problem + hint)]


def _starts_with_counts(source: Source) -> bool:
    values = source.some_values()
    verdict = CountVerdict()
    verdict.add(sparse.csr_matrix(values[None, :]))
    return len(values) > 0 and verdict.are_counts


def _quality_findings(seen: Survey) -> list[Finding]:
    if problems := unusable(seen):
        return [Finding("quality", "error", problem) for problem in problems]
    cells, genes = int(seen.keep_cells.sum()), int(seen.keep_genes.sum())
    left_out = ", ".join(f"{threshold} {n}" for threshold, n in seen.dropped.items() if n)
    message = f"{cells} of {len(seen.keep_cells)} cells and {genes} of {len(seen.keep_genes)} genes stay"
    few = cells < len(seen.keep_cells) / 2
    return [Finding("quality", "warning" if few else "ok", message + (f"; left out by {left_out}" if left_out else ""))]


def _split(kept: pd.DataFrame, dataset: Dataset, report: Report) -> np.ndarray | None:
    """The split that prepare will make; None where it cannot be made."""
    try:
        split = split_cells(kept, dataset)
    except UserError as error:
        known = errors(report.findings)  # a missing column is reported once
        report.findings += [
            Finding("split", "error", p) for p in error.problems if not any(k in p or p in k for k in known)
        ]
        return None
    sizes = pd.Series(split).value_counts(sort=False)
    report.findings.append(Finding("split", "ok", ", ".join(f"{name} {n}" for name, n in sizes.items())))
    train = np.asarray(split == TRAIN)
    for key, column in (("batch", dataset.batch), ("label", dataset.label)):
        if column is None or column not in kept:
            continue
        values = strings(kept, column, key)
        unseen = sorted(set(values) - set(values[train]))
        if unseen:
            names = ", ".join(f"'{value}'" for value in unseen[:5])
            message = f"split: {key} '{column}' has values without training cells ({len(unseen)}): {names}."
            report.findings.append(Finding("split", "warning", message))
    return train


def _batch_sizes(
    kept: pd.DataFrame, train: np.ndarray | None, dataset: Dataset, selection: GeneSelection
) -> dict[str, int]:
    used = kept[train] if selection.cells == "train" and train is not None else kept
    if dataset.batch is None or dataset.batch not in used:
        return {ONE_BATCH: len(used)}
    return {str(name): int(n) for name, n in used[dataset.batch].astype(str).value_counts().items()}
