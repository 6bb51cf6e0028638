"""Cell cycle: scores of cells from marker genes, and how much of their variance an embedding keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.statistic import Statistic, ratio

# Symbols as published by Tirosh et al. 2016; those of mice are written with one capital letter.
S_GENES = (
    "MCM5 PCNA TYMS FEN1 MCM2 MCM4 RRM1 UNG GINS2 MCM6 CDCA7 DTL PRIM1 UHRF1 MLF1IP HELLS RFC2 RPA2 NASP RAD51AP1 GMNN "
    "WDR76 SLBP CCNE2 UBR7 POLD3 MSH2 ATAD2 RAD51 RRM2 CDC45 CDC6 EXO1 TIPIN DSCC1 BLM CASP8AP2 USP1 CLSPN POLA1 "
    "CHAF1B BRIP1 E2F8"
)
G2M_GENES = (
    "HMGB2 CDK1 NUSAP1 UBE2C BIRC5 TPX2 TOP2A NDC80 CKS2 NUF2 CKS1B MKI67 TMPO CENPF TACC3 FAM64A SMC4 CCNB2 CKAP2L "
    "CKAP2 AURKB BUB1 KIF11 ANP32E TUBB4B GTSE1 KIF20B HJURP CDCA3 HN1 CDC20 TTK CDC25C KIF2C RANGAP1 NCAPD2 DLGAP5 "
    "CDCA2 CDCA8 ECT2 KIF23 HMMR AURKA PSRC1 ANLN LBR CKAP5 CENPE CTCF NEK2 G2E3 GAS2L3 CBX5 CENPA"
)
LEAST_GENES = 5
"""Fewer measured genes of a phase say nothing."""
BINS = 25
LEAST_CELLS = 10
NO_SHARE = 1e-6


class CycleGenes(NamedTuple):
    """The measured genes of both phases, as positions, and the organism whose spelling matches; reason: why none."""

    organism: str
    s: np.ndarray
    g2m: np.ndarray
    reason: str


def find_cycle_genes(symbols: np.ndarray) -> CycleGenes:
    """Look up the genes of both phases among the symbols (g,), in the spelling that matches better."""
    place = {symbol: at for at, symbol in reversed(list(enumerate(symbols)))}

    def found(spelling: str) -> CycleGenes:
        spelt = (lambda gene: gene.capitalize()) if spelling == "mouse" else str
        phases = S_GENES.split(), G2M_GENES.split()
        lists = [[place[spelt(g)] for g in genes if spelt(g) in place] for genes in phases]
        return CycleGenes(spelling, np.array(lists[0], np.int64), np.array(lists[1], np.int64), "")

    best = max((found("human"), found("mouse")), key=lambda genes: len(genes.s) + len(genes.g2m))
    if min(len(best.s), len(best.g2m)) < LEAST_GENES:
        reason = (
            f"of the cell-cycle genes {len(best.s)} of S phase and {len(best.g2m)} of G2/M are measured (by human or "
            f"mouse symbols); {LEAST_GENES} of each are needed"
        )
        return best._replace(reason=reason)
    if len(symbols) < 4 * BINS:
        return best._replace(reason=f"{len(symbols)} genes are too few to choose control genes from")
    return best


def score_weights(mean: np.ndarray, genes: np.ndarray, n_control: int) -> np.ndarray:
    """Weights (g,) of a cell's log-normalised expression that make its score for some genes (Satija et al. 2015).

    The mean of the genes less that of control genes: n_control random ones of each bin of mean expression (g,) that
    holds one of the genes. Same bins and random numbers as scanpy's `score_genes`, so that scores are equal.
    """
    first_of = np.searchsorted(np.sort(mean), mean)  # rank among the means, from 0; the lowest of equal ones
    bins = (first_of + 1) // round(len(mean) / (BINS - 1))
    rng, control = np.random.RandomState(0), set[int]()
    for level in np.unique(bins[genes]):
        members = np.flatnonzero(bins == level)
        if n_control < len(members):
            members = members[rng.choice(len(members), size=n_control, replace=False)]
        control |= set(members.tolist()) - set(genes.tolist())
    weights = np.zeros(len(mean))
    weights[genes] = 1 / len(genes)
    weights[sorted(control)] -= 1 / max(len(control), 1)
    return weights


def explained_share(points: np.ndarray, covariates: np.ndarray) -> Statistic:
    """Share of the variance of points (n, d) that a linear regression on covariates (n, c) explains.

    Over all principal components: the trace of what is explained, over the trace of the covariance.
    """
    centred, known = points - points.mean(axis=0), covariates - covariates.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    products = np.einsum("ic,ie->ice", known, known).reshape(len(known), -1)

    def share(weights: np.ndarray) -> float:
        total = max(weights.sum(), 1)
        mean_x, mean_c = weights @ centred / total, weights @ known / total
        within = (weights @ products).reshape(known.shape[1], -1) / total - np.outer(mean_c, mean_c)
        between = (known * weights[:, None]).T @ centred / total - np.outer(mean_c, mean_x)
        explained = float(np.trace(np.linalg.pinv(within, hermitian=True) @ (between @ between.T)))
        return ratio(explained, float(weights @ squares / total - mean_x @ mean_x))

    return Statistic(share, len(points))


def conservation(
    points: np.ndarray, cycle: np.ndarray, batches: np.ndarray, names: tuple[str, ...], before: Mapping[str, float]
) -> Statistic:
    """Mean over batches of 1 - |after - before| / before, not below 0 (Luecken et al. 2022).

    before, after: share of variance that the cell-cycle scores (n, 2) explain, in the uncorrected expression (per name
    of a batch) and in the embedding (n, d). batches (n,): codes of names.
    """
    parts = []
    for code, name in enumerate(names):
        rows = np.flatnonzero((batches == code) & np.isfinite(cycle).all(axis=1))
        if before.get(name, 0.0) >= NO_SHARE and len(rows) >= LEAST_CELLS:
            parts.append((explained_share(points[rows], cycle[rows]), rows, before[name]))
    if not parts:
        raise NotApplicable("in no batch do cell-cycle scores explain any variance of the expression")

    def mean(weights: np.ndarray) -> float:
        kept = [max(0.0, 1 - abs(after.of(weights[rows]) - share) / share) for after, rows, share in parts]
        return float(np.mean(kept))

    return Statistic(mean, len(points))
