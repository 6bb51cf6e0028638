"""How much of each data set's genes the gene priors cover, from the reports of match_gene_prior.py."""

from __future__ import annotations

import json
from typing import NamedTuple

from sclamp.core.errors import UserError
from sclamp.report.plan import Plan

MOST = 12


class Coverage(NamedTuple):
    """One gene prior matched to one gene selection; shares are NaN-free, in 0..1. matched_by: words."""

    dataset: str
    selection: str
    prior: str
    source: str
    found: int
    genes: int
    share_of_genes: float
    share_of_umis: float
    matched_by: str
    policy: str
    missing: str


def coverage(plan: Plan) -> list[Coverage]:
    """Every match report that exists."""
    rows = []
    for dataset in plan.datasets:
        for path in sorted((plan.folder(dataset) / "gene_priors").glob("*/*.json")):
            try:
                report = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: cannot be read as JSON ({error}).") from error
            report = report.get("coverage", report) if isinstance(report.get("coverage"), dict) else report
            if "share_of_genes" not in report:
                continue
            ways = (f"{way.replace('_', ' ')} {n:,}" for way, n in report.get("matched_by", {}).items())
            lost = [str(m["gene_id"] if isinstance(m, dict) else m) for m in report.get("missing", [])]
            more = f", ... ({len(lost):,} in all)" if len(lost) > MOST else ""
            rows.append(
                Coverage(
                    dataset, path.parent.name, path.stem, str(plan.gene_priors.get(path.stem, {}).get("source", "")),
                    int(report.get("n_found", 0)), int(report.get("n_genes", 0)), float(report["share_of_genes"]),
                    float(report.get("share_of_umis", report["share_of_genes"])), ", ".join(ways),
                    str(report.get("missing_policy", "")), ", ".join(lost[:MOST]) + more,
                )
            )  # fmt: skip
    return rows
