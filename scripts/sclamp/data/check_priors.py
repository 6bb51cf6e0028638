"""How many of a dataset's genes a gene prior covers, from its names alone: no vector is read, nothing is embedded."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sclamp.config.gene_priors import AnyGenePrior
from sclamp.core.errors import UserError
from sclamp.data.findings import Finding
from sclamp.priors.align import match_to
from sclamp.priors.lookup import prior_names
from sclamp.priors.names import GeneNames


def prior_findings(name: str, prior: AnyGenePrior, var: pd.DataFrame) -> list[Finding]:
    """Coverage of the genes that pass quality control, found as the workflow will find them.

    var: index ids, columns symbol and total_counts.
    """
    check = f"prior '{name}'"
    if prior.of_dataset:
        return [Finding(check, "skipped", f"source {prior.source}: made from the data or from another prior")]
    tables = (prior.matching.aliases, prior.matching.orthologs)
    absent = [path for path in tables if path and not Path(path).is_file()]
    if absent:
        return [Finding(check, "error", f"gene_priors.{name}.matching: '{path}' does not exist.") for path in absent]
    genes = GeneNames(list(var.index), var["symbol"].tolist())
    try:
        names = prior_names(prior)
        if names is None:
            return [Finding(check, "skipped", "its genes are not known before it is downloaded or read as a whole")]
        found = pd.Series([bool(rows) for rows in match_to(genes, names, prior.matching).rows], index=var.index)
    except UserError as error:
        return [Finding(check, "error", f"gene_priors.{name}: {problem}") for problem in error.problems]
    if not found.any():
        message = (
            f"gene_priors.{name}: none of its {len(names)} genes (such as {', '.join(sorted(names.ids)[:3])}) is in "
            f"the data (such as {', '.join(var.index[:3])}); is it of another species, or are the ids of another kind?"
        )
        return [Finding(check, "error", message)]
    counts = (var["total_counts"] * found).sum() / max(var["total_counts"].sum(), 1.0)
    message = f"covers {found.mean():.1%} of the genes, with {counts:.1%} of the counts"
    if found.mean() < prior.matching.min_coverage:
        message += f"; min_coverage {prior.matching.min_coverage:g} is asked of the selected genes"
        return [Finding(check, "warning", f"gene_priors.{name}: {message}.")]
    return [Finding(check, "ok", message)]
