"""Modules of genes: clusters of the gene embedding, their annotation, and how well annotated groups stand apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate.gene_terms import MAX_GENES, MIN_GENES, Terms, adjusted, terms_of, upper_tail
from sclamp.evaluate.gene_vectors import GeneVectors
from sclamp.evaluate.graph import fuzzy_graph, leiden, network_of
from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.rows import Row

RESOLUTION = 1.0
FDR = 0.05
MOST_TERMS = 20
"""Significant terms listed per module."""
SHUFFLES = 20
BY_TEXT = "a prior made from this annotation finds its terms by construction"
LEAST_GROUP = 2
"""Genes of a group whose spread is measured: a single gene has none."""


@dataclass
class Modules:
    """genes: the embedding. pairs: terms and their genes (columns term, gene_id), or None without an annotation."""

    genes: GeneVectors
    pairs: pd.DataFrame | None
    settings: Evaluate

    @cached_property
    def modules(self) -> np.ndarray:
        """Module of each gene (g,), the largest is 0: Leiden on the graph of nearest genes by cosine."""
        unit, k = self.genes.unit, self.settings.graph_neighbors
        if len(unit) <= k:
            raise NotApplicable(f"{len(unit)} genes are too few for neighbourhoods of {k}")
        graph = fuzzy_graph(find_neighbors(unit, k - 1), k)
        found = leiden(network_of(graph), RESOLUTION, self.settings.seed)
        codes, sizes = np.unique(found, return_inverse=True, return_counts=True)[1:]
        return np.argsort(np.argsort(-sizes, kind="stable"))[codes]

    @cached_property
    def terms(self) -> Terms:
        """The terms of the embedded genes."""
        if self.pairs is None:
            raise NotApplicable("no annotation of genes is given (evaluate.gene_terms)")
        terms = terms_of(self.pairs, self.genes.ids)
        if not len(terms.names):
            raise NotApplicable(f"no term has {MIN_GENES} to {MAX_GENES} of the {len(self.genes)} embedded genes")
        return terms

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Every term in every module, tested: columns as in module_terms.parquet."""
        return enrichment(self.modules, self.terms)

    @cached_property
    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Genes (n,) that have a term, as rows, and the group (n,) of each: its smallest term."""
        self.genes.vectors  # noqa: B018 - a reason why there are none comes first
        rows, groups = smallest_term(self.terms)
        if len(np.unique(groups)) < 2:
            raise NotApplicable("the genes' smallest terms make fewer than 2 groups")
        return rows, groups

    def shuffled_tests(self) -> pd.DataFrame:
        """As `tests`, with modules dealt out anew among the annotated genes."""
        modules, rows = self.modules.copy(), np.flatnonzero(self.terms.annotated)
        modules[rows] = modules[np.random.default_rng(self.settings.seed).permutation(rows)]
        return enrichment(modules, self.terms)

    def separation(self) -> float:
        """Davies-Bouldin index of the groups."""
        rows, groups = self.groups
        return davies_bouldin(self.genes.unit[rows], groups)

    def shuffled_separation(self) -> float:
        """The same with groups dealt out anew, mean of several times."""
        (rows, groups), rng = self.groups, np.random.default_rng(self.settings.seed)
        points = self.genes.unit[rows]
        return float(np.mean([davies_bouldin(points, rng.permutation(groups)) for _ in range(SHUFFLES)]))


def enrichment(modules: np.ndarray, terms: Terms) -> pd.DataFrame:
    """Test every term in every module for over-representation among the annotated genes.

    modules (g,): codes 0... Columns module, term, n_module, n_term, overlap, odds_ratio (half a gene added to each of
    the four counts, so that it is finite), p (hypergeometric), p_adjusted (Benjamini-Hochberg over all tests). Sizes
    count annotated genes only; modules without any have no tests.
    """
    own = modules[terms.annotated]
    member = terms.member[:, np.flatnonzero(terms.annotated)]
    present, column = np.unique(own, return_inverse=True)
    one_hot = sparse.csr_matrix((np.ones(len(own)), (np.arange(len(own)), column)), shape=(len(own), len(present)))
    overlap = (member @ one_hot).toarray().T.astype(np.int64)
    n_module, n_term = np.bincount(column), np.diff(member.indptr)
    drawn, marked = (count.ravel() for count in np.broadcast_arrays(n_module[:, None], n_term[None]))
    both, total = overlap.ravel(), len(own)
    p = upper_tail(both, drawn, marked, total)
    odds = (both + 0.5) * (total - drawn - marked + both + 0.5) / ((marked - both + 0.5) * (drawn - both + 0.5))
    module, term = np.repeat(present, len(n_term)), np.tile(terms.names, len(present))
    columns = {"module": module, "term": term, "n_module": drawn, "n_term": marked, "overlap": both}
    return pd.DataFrame({**columns, "odds_ratio": odds, "p": p, "p_adjusted": adjusted(p)})


def significant(tests: pd.DataFrame) -> pd.DataFrame:
    """The best significant terms of each module, at most MOST_TERMS, the surest first."""
    found = tests[tests["p_adjusted"] <= FDR].sort_values(["module", "p", "term"], kind="stable")
    return found.groupby("module").head(MOST_TERMS).reset_index(drop=True)


def smallest_term(terms: Terms) -> tuple[np.ndarray, np.ndarray]:
    """Genes that have a tested term, and for each the term (row of `terms`) with the fewest genes, the first by name.

    Terms that keep fewer than LEAST_GROUP genes that way are left out, with these genes.
    """
    sizes = np.diff(terms.member.indptr)
    pairs = terms.member.tocoo()
    order = np.lexsort((pairs.row, sizes[pairs.row], pairs.col))
    rows, first = np.unique(pairs.col[order], return_index=True)
    groups = pairs.row[order][first]
    kept = np.bincount(groups, minlength=len(sizes))[groups] >= LEAST_GROUP
    return rows[kept], groups[kept]


def davies_bouldin(points: np.ndarray, groups: np.ndarray) -> float:
    """Mean over groups of the worst ratio of both groups' spreads to their distance (Davies and Bouldin 1979).

    points (n, d), groups (n,) of at least 2 kinds. Lower is better. Groups with the same centre are not compared.
    """
    codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    one_hot = sparse.csr_matrix((1 / sizes[codes], (codes, np.arange(len(codes)))), shape=(len(sizes), len(codes)))
    points = points - points.mean(axis=0)
    centres = one_hot @ points
    spread = one_hot @ np.linalg.norm(points - centres[codes], axis=1)
    squares = np.square(centres).sum(axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * centres @ centres.T, 0))
    np.fill_diagonal(apart, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(apart > 0, (spread[:, None] + spread) / apart, 0)
    return float(ratio.max(axis=1).mean())


def score_modules(modules: Modules) -> list[Row]:
    """Scores modules_enriched, terms_enriched, module_davies_bouldin; each also with genes dealt out anew."""

    def enriched(of: str, shuffled: bool) -> float:
        tests = modules.shuffled_tests() if shuffled else modules.tests
        n = len(np.unique(modules.modules)) if of == "module" else len(modules.terms.names)
        return tests.loc[tests["p_adjusted"] <= FDR, of].nunique() / n

    def separation(shuffled: bool) -> float:
        return modules.shuffled_separation() if shuffled else modules.separation()

    how = f"Leiden {RESOLUTION:g} on nearest genes by cosine; hypergeometric, FDR {FDR:.0%} over all tests; {BY_TEXT}"
    groups = f"genes grouped by their smallest term, unit vectors; lower is better; {BY_TEXT}"
    metrics: dict[str, tuple[str, Callable[[bool], float]]] = {
        "modules_enriched": (f"share of modules with an enriched term; {how}", partial(enriched, "module")),
        "terms_enriched": (f"share of terms enriched in a module; {how}", partial(enriched, "term")),
        "module_davies_bouldin": (f"Davies-Bouldin, {groups}", separation),
    }
    return [
        Row("all", "genes", measure(name + tail, text + why, partial(function, bool(tail))))
        for name, (text, function) in metrics.items()
        for tail, why in (("", ""), ("_shuffled", "; genes dealt out anew"))
    ]
