"""How much of a selection a gene prior covers, in genes and in UMIs, and what to say about what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sclamp.config.gene_priors import Matching
from sclamp.priors.match import Match
from sclamp.priors.names import GeneNames, kind
from sclamp.priors.selection import SelectedGenes


def coverage(genes: SelectedGenes, match: Match, policy: Matching) -> dict[str, Any]:
    """What was found, as share of the genes and of their UMIs, and how; what is missing, most counts first."""
    ids, share = genes.names.ids, genes.umi_share
    found = np.array([bool(rows) for rows in match.rows])
    missing = sorted(np.flatnonzero(~found).tolist(), key=lambda gene: (-share[gene], ids[gene]))
    ways = Counter(
        f"{way}_other_case" if case else way for way, case in zip(match.way, match.other_case, strict=True) if way
    )
    used = Counter(tuple(rows) for rows in match.rows if rows)
    return {
        "n_genes": len(ids),
        "n_found": int(found.sum()),
        "share_of_genes": float(found.mean()),
        "share_of_umis": float(share[found].sum() / share.sum()) if share.sum() else float(found.mean()),
        "matched_by": dict(sorted(ways.items())),
        "missing_policy": policy.missing,
        "duplicates_policy": policy.duplicates,
        "genes_with_several_vectors": [ids[gene] for gene, rows in enumerate(match.rows) if len(rows) > 1],
        "genes_that_share_a_vector": int(sum(n for n in used.values() if n > 1)),
        "ambiguous": {ids[gene]: names for gene, names in sorted(match.ambiguous.items())},
        "missing": [{"gene_id": ids[gene], "umi_share": float(share[gene])} for gene in missing],
    }


def coverage_problems(
    report: dict[str, Any], genes: GeneNames, prior: GeneNames, least: float, origin: str
) -> list[str]:
    """A problem where too few genes have a vector: it shows names of both sides and the likely cause.

    origin: what the message names (the prior's file).
    """
    if report["share_of_genes"] >= least and report["n_found"]:
        return []
    lacking = some([entry["gene_id"] for entry in report["missing"]])
    return [
        f"{origin}: only {report['n_found']} of {report['n_genes']} selected genes have a vector "
        f"({report['share_of_genes']:.1%} of the genes, {report['share_of_umis']:.1%} of their UMIs); "
        f"matching.min_coverage is {least:g}. Without one: {lacking}. The prior has: {some(prior.ids)}. "
        + likely_cause(genes, prior)
    ]


def likely_cause(genes: GeneNames, prior: GeneNames) -> str:
    """Why two sets of names may hardly overlap, and what helps."""
    data_kind, prior_kind = kind(genes), kind(prior)
    ensembl = [side.startswith("Ensembl") for side in (data_kind, prior_kind)]
    if data_kind == prior_kind:
        return "Both are " + data_kind + ": a table of former names (matching.aliases) may help."
    clash = f"The data has {data_kind}, the prior {prior_kind}: "
    if all(ensembl) or not any(ensembl):
        return clash + "another species? Then give matching.orthologs, a table (gene of the data, gene of the prior)."
    remedy = "datasets.NAME.gene_symbols" if ensembl[0] else "a column `symbol` in the prior's table"
    return clash + f"give symbols too ({remedy}), or a table (Ensembl id, symbol) as matching.aliases."


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report in a few lines for the log; missing genes with the most counts first."""
    ways = ", ".join(f"{n} by {way.replace('_', ' ')}" for way, n in report["matched_by"].items())
    lines = [
        f"{report['n_found']} of {report['n_genes']} genes have a vector ({report['share_of_genes']:.1%} of the genes, "
        f"{report['share_of_umis']:.1%} of their UMIs): {ways}"
    ]
    other_case = sum(n for way, n in report["matched_by"].items() if way.endswith("_other_case"))
    if other_case:
        lines.append(
            f"{other_case} genes were found only with case ignored: another species? Then give matching.orthologs."
        )
    if report["ambiguous"]:
        gene, names = next(iter(report["ambiguous"].items()))
        lines.append(f"{len(report['ambiguous'])} genes are ambiguous and left out, e.g. '{gene}': {', '.join(names)}")
    if report["missing"]:
        shown = ", ".join(f"{entry['gene_id']} ({entry['umi_share']:.2%})" for entry in report["missing"][:10])
        what = f"{len(report['missing'])} genes without a vector ({report['missing_policy']})"
        lines.append(f"{what}, most counts first: {shown}")
    return lines


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first names, quoted, for a message."""
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return shown + (", ..." if len(names) > limit else "")
