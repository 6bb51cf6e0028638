"""Highly variable genes, equal to scanpy's numbers: arrays of sums in, statistics per gene out.

Flavors `seurat_v3` and `seurat_v3_paper`: Stuart et al. 2019 (variance of clipped, standardised counts). `seurat`
(Satija et al. 2015) and `cell_ranger` (Zheng et al. 2017): dispersion of normalised expression, standardised among
genes of similar mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

_JITTERS = [10.0**power for power in range(-18, -5)]
_MAD_OF_NORMAL = NormalDist().inv_cdf(0.75)


@dataclass(frozen=True)
class Ranking:
    """Genes from most to least variable.

    score (g,): normalised variance or dispersion, mean over batches. rank (g,): lower is more variable, NaN beyond the
    top. n_batches (g,): batches in whose top a gene is. order: genes, best first. selected (g,): mask.
    """

    score: np.ndarray
    rank: np.ndarray
    n_batches: np.ndarray
    order: np.ndarray
    selected: np.ndarray


@dataclass(frozen=True)
class Trend:
    """What a gene's mean leads to expect: std (g,); jitter: the shift of the means it took to fit."""

    std: np.ndarray
    jitter: float


def variance_trend(mean: np.ndarray, variance: np.ndarray, span: float) -> Trend | None:
    """Fit log variance by a local quadratic regression on log mean; the std is 1 for genes that do not vary.

    The fit can fail in small batches, where many genes share few distinct means; it is then tried again with means that
    are shifted a little, more and more. None where that fails too.
    """
    from skmisc.loess import loess

    varies = variance > 0
    n = int(varies.sum())
    if n < 10 or span * n < 3:  # with fewer points the library brings the interpreter down
        return None
    x, y, rng = np.log10(mean[varies]), np.log10(variance[varies]), np.random.default_rng(0)
    for jitter in (0.0, *_JITTERS):
        try:
            model = loess(x + rng.uniform(-jitter, jitter, n) if jitter else x, y, span=span, degree=2)
            model.fit()
        except ValueError:
            continue
        fitted = np.zeros(len(mean))
        fitted[varies] = model.outputs.fitted_values
        return Trend(np.sqrt(10**fitted), jitter)
    return None


def rank_variances(scores: np.ndarray, n_top: int, flavor: str, min_batches: int = 1) -> Ranking:
    """Combine normalised variances (batches, genes), NaN where a batch was not measured for a gene.

    A gene's rank is the median over the batches in whose top it is. seurat_v3 sorts by rank, then by number of batches
    (their share, where some were not measured for it); seurat_v3_paper the other way round. Genes with exactly equal
    values (rare genes seen in equally many cells) are ranked as numpy's default sort leaves them: arbitrary, but the
    same as in scanpy. Genes in the top of fewer than `min_batches` batches are not selected.
    """
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1).astype(np.float32)
    known = ~np.isnan(scores)
    ranks[(ranks >= n_top) | ~known] = np.nan
    n_batches = (~np.isnan(ranks)).sum(axis=0)
    rank = np.full(scores.shape[1], np.nan, dtype=np.float32)
    rank[n_batches > 0] = np.nanmedian(ranks[:, n_batches > 0], axis=0)
    n_known = known.sum(axis=0)
    by_rank, by_batches = np.where(np.isnan(rank), np.inf, rank), -n_batches / np.maximum(n_known, 1)
    order = np.lexsort((by_batches, by_rank) if flavor == "seurat_v3" else (by_rank, by_batches))
    score = np.where(n_known > 0, np.where(known, scores, 0.0).sum(axis=0) / np.maximum(n_known, 1), np.nan)
    return Ranking(score, rank, n_batches, order, _first(order[n_batches[order] >= min_batches], n_top, len(order)))


def rank_dispersions(
    mean: np.ndarray,
    variance: np.ndarray,
    ids: np.ndarray,
    n_top: int,
    flavor: str,
    measured: np.ndarray | None = None,
    min_batches: int = 1,
) -> Ranking:
    """Combine dispersions; mean, variance (batches, genes) of normalised expression, ids (g,).

    measured (batches, genes) bool: genes that a batch was measured for; None for all. Where there are several batches,
    genes in the top of fewer than `min_batches` are not selected.

    The expression is log-normalised for cell_ranger, and without the logarithm for seurat.

    One batch: genes with at least the n-th highest value (all ties). Several: genes seen in a batch are ranked there;
    the top is sorted by number of batches (their share, where some were not measured), then mean value, then id.
    """
    if len(mean) == 1:
        score = _normalized_dispersion(mean[0], variance[0], flavor)
        selected = _at_least_nth(score, n_top)
        order = np.lexsort((np.where(np.isnan(score), np.inf, -score),))
        return Ranking(score, _positions(order, selected), selected.astype(np.int64), order, selected)
    measured = np.ones(mean.shape, dtype=bool) if measured is None else measured
    scores, tops = np.where(measured, 0.0, np.nan), np.zeros(mean.shape, dtype=bool)
    for batch, seen in enumerate(mean > 0):
        scores[batch, seen] = _normalized_dispersion(mean[batch, seen], variance[batch, seen], flavor)
        tops[batch, seen] = _at_least_nth(scores[batch, seen], n_top)
    known, n_batches = ~np.isnan(scores), tops.sum(axis=0)
    score = np.full(mean.shape[1], np.nan)
    some = known.any(axis=0)
    score[some] = np.where(known, scores, 0.0).sum(axis=0)[some] / known.sum(axis=0)[some]
    names, by_batches = pd.Index(ids).argsort().argsort(), -n_batches / np.maximum(measured.sum(axis=0), 1)
    order = np.lexsort((names, np.where(np.isnan(score), np.inf, -score), by_batches))
    selected = _first(order[n_batches[order] >= min_batches], n_top, len(order))
    return Ranking(score, _positions(order, selected), n_batches, order, selected)


def _normalized_dispersion(mean: np.ndarray, variance: np.ndarray, flavor: str) -> np.ndarray:
    """Variance over mean, standardised among genes of similar mean."""
    mean = np.where(mean == 0, 1e-12, mean)
    dispersion = variance / mean
    if flavor == "seurat":
        dispersion = np.log(np.where(dispersion == 0, np.nan, dispersion))
        bins = pd.cut(np.log1p(mean), bins=20)
    else:
        edges = np.percentile(mean, np.arange(10, 105, 5))
        bins = pd.cut(mean, bins=np.unique(np.concatenate([[-np.inf], edges, [np.inf]])))
    codes = np.asarray(bins.codes)
    groups = pd.Series(dispersion).groupby(codes)
    if flavor == "seurat":
        center, spread = groups.transform("mean").to_numpy(), groups.transform("std").to_numpy()
        alone = np.isnan(spread)  # one gene in its bin: its value becomes 1
        alike = spread < 1e-10 * np.abs(center)  # equal but for rounding, as in batches of a few cells: 0, not infinite
        center, spread = np.where(alone, 0.0, center), np.where(alone, center, np.where(alike, np.inf, spread))
    else:
        center = groups.transform("median").to_numpy()
        deviations = pd.Series(np.abs(dispersion - center)).groupby(codes)
        spread = deviations.transform("median").to_numpy() / _MAD_OF_NORMAL
    with np.errstate(divide="ignore", invalid="ignore"):  # cell_ranger without spread: NaN or infinite, as in scanpy
        return (dispersion - center) / spread


def _at_least_nth(score: np.ndarray, n: int) -> np.ndarray:
    """Mask of the values that are at least the n-th highest; NaN never is."""
    known = np.sort(score[~np.isnan(score)])[::-1]
    if not len(known):
        return np.zeros(len(score), dtype=bool)
    return np.where(np.isnan(score), -np.inf, score) >= known[min(n, len(known)) - 1]


def _first(order: np.ndarray, n: int, n_genes: int) -> np.ndarray:
    mask = np.zeros(n_genes, dtype=bool)
    mask[order[:n]] = True
    return mask


def _positions(order: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """Place of each selected gene in the order, NaN for the others."""
    places = np.empty(len(order), dtype=np.float32)
    places[order] = np.arange(len(order), dtype=np.float32)
    return np.where(selected, places, np.float32(np.nan))
