"""From a match to one vector per gene of a selection, in the selection's order, and the file that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.config.gene_priors import Matching
from sclamp.core.errors import UserError
from sclamp.core.files import read_table, write_table
from sclamp.priors.coverage import coverage, coverage_problems, some
from sclamp.priors.match import Match, match_genes
from sclamp.priors.names import GeneNames
from sclamp.priors.selection import SelectedGenes
from sclamp.priors.tables import read_pairs
from sclamp.priors.vectors import GeneVectors, read_vectors, vector_column

COLUMNS = ("gene_id", "embedding", "matched_by", "prior_gene")


@dataclass(frozen=True)
class Aligned:
    """Vectors of a selection's genes, in its order; genes without vector are absent under the policy `drop`.

    positions: of these genes in the selection. vectors (n, k) float32. matched_by: symbol, alias, ensembl, ortholog,
    filled or own. prior_gene: id in the prior, "" where filled.
    """

    positions: np.ndarray
    vectors: np.ndarray
    matched_by: list[str]
    prior_gene: list[str]


def align(genes: SelectedGenes, prior: GeneVectors, match: Match, policy: Matching) -> Aligned:
    """Take each gene's vector and apply the policies for repeated and missing genes."""
    ids, found = genes.names.ids, [bool(rows) for rows in match.rows]
    chosen = [rows[:1] if policy.duplicates == "first" else rows for rows in match.rows]
    vectors = np.zeros((len(ids), prior.vectors.shape[1]), np.float32)
    for gene, rows in enumerate(chosen):
        if rows:
            vectors[gene] = prior.vectors[rows].mean(axis=0, dtype=np.float64)
    if policy.missing == "mean" and any(found):
        vectors[~np.array(found)] = vectors[found].mean(axis=0, dtype=np.float64)
    kept = np.flatnonzero(found) if policy.missing == "drop" else np.arange(len(ids))
    ways = [match.way[gene] or "filled" for gene in kept]
    sources = [prior.names.ids[chosen[gene][0]] if chosen[gene] else "" for gene in kept]
    return Aligned(kept, vectors[kept], ways, sources)


def _policy_problems(ids: Sequence[str], match: Match, policy: Matching, origin: str) -> list[str]:
    problems = []
    repeated = [ids[gene] for gene, rows in enumerate(match.rows) if len(rows) > 1]
    if repeated and policy.duplicates == "error":
        problems.append(
            f"{origin}: {len(repeated)} genes have several vectors ({some(repeated)}); "
            "matching.duplicates: first or mean says which to take."
        )
    missing = [ids[gene] for gene, rows in enumerate(match.rows) if not rows]
    if missing and policy.missing == "error":
        problems.append(
            f"{origin}: {len(missing)} of {len(ids)} genes have no vector ({some(missing)}); "
            "matching.missing: drop, zero or mean would accept that."
        )
    return problems


def write_aligned(path: str | Path, ids: Sequence[str], aligned: Aligned, provenance: dict[str, Any]) -> None:
    """Write gene_id (of the data set), embedding, matched_by, prior_gene."""
    import pyarrow as pa

    columns = (
        pa.array([ids[gene] for gene in aligned.positions], pa.string()),
        vector_column(aligned.vectors),
        pa.array(aligned.matched_by, pa.string()),
        pa.array(aligned.prior_gene, pa.string()),
    )
    write_table(path, pa.table(dict(zip(COLUMNS, columns, strict=True))), provenance)


def read_aligned(path: str | Path, ids: Sequence[str]) -> Aligned:
    """Read what `write_aligned` wrote for the same selection; ids: its genes in order."""
    genes, table = read_vectors(path), read_table(path)
    position = {name: row for row, name in enumerate(ids)}
    strangers = [name for name in genes.names.ids if name not in position]
    if strangers or not {*COLUMNS} <= {*table.column_names}:
        found = some(strangers) or "other columns"
        raise UserError(f"{path}: is no gene prior that was matched to these genes (it has {found}).")
    positions = np.array([position[name] for name in genes.names.ids])
    return Aligned(positions, genes.vectors, table["matched_by"].to_pylist(), table["prior_gene"].to_pylist())


def match_to(genes: GeneNames, prior: GeneNames, settings: Matching) -> Match:
    """Match genes to a prior with the tables that the settings name. Errors: tables that cannot be read."""
    aliases = read_pairs(settings.aliases, "alias", "symbol") if settings.aliases else []
    orthologs = read_pairs(settings.orthologs, "gene", "prior_gene") if settings.orthologs else []
    match = match_genes(genes, prior, aliases, orthologs)
    if orthologs and "ortholog" not in match.way:
        swapped = match_genes(genes, prior, (), [(b, a) for a, b in orthologs])
        if "ortholog" in swapped.way:
            found = sum(way == "ortholog" for way in swapped.way)
            message = "genes of the data are expected in its first column, genes of the prior in its second"
            raise UserError(f"{settings.orthologs}: {message}; the other way round {found} genes would be found.")
    return match


def match_prior(path: str | Path, genes: SelectedGenes, policy: Matching) -> tuple[Aligned, dict[str, Any]]:
    """Match a gene prior's file to a selection: aligned vectors and the coverage report.

    Errors: a damaged prior, too little coverage, repeated or missing genes under the policy `error`.
    """
    prior = read_vectors(path)
    match = match_to(genes.names, prior.names, policy)
    report = coverage(genes, match, policy)
    problems = coverage_problems(report, genes.names, prior.names, policy.min_coverage, str(path))
    problems += _policy_problems(genes.names.ids, match, policy, str(path))
    if problems:
        raise UserError(*problems)
    return align(genes, prior, match, policy), report
