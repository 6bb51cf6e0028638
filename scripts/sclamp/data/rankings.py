"""Rankings of highly variable genes from sums over cells, for one or several numbers of genes."""

from __future__ import annotations

import numpy as np

from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data import hvg
from sclamp.data.h5ad import CountMap
from sclamp.data.moments import Clipped, Moments, Sums, one_pass

Rankings = dict[int, hvg.Ranking]
"""Number of genes -> ranking. The top 100 are not the first 100 of the top 200: ranks are cut at the number."""


def by_variance(
    counts: CountMap, raw: Moments, groups: np.ndarray, names: list[str], settings: GeneSelection, notes: list[str]
) -> Rankings:
    """Flavors seurat_v3: fit each batch, second pass over clipped counts.

    raw: moments of the counts (batches, genes). groups (cells,): batch of each cell, -1 for cells that do not decide.
    Batches that are too small, or whose fit fails, are left out and noted.
    """
    sizes = np.bincount(groups[groups >= 0], minlength=len(names))
    enough = _enough(sizes, names, settings, notes)
    mean, variance = raw.mean(), raw.variance(ddof=1)
    trends = [hvg.variance_trend(mean[b], variance[b], settings.span) if ok else None for b, ok in enumerate(enough)]
    fitted = np.array([trend is not None for trend in trends])
    sized = _sized(names, sizes)
    failed = ", ".join(name for name, ok, tried in zip(sized, fitted, enough, strict=True) if tried and not ok)
    if not fitted.any():
        raise UserError(
            f"gene selection: the local regression of '{settings.flavor}' fails in {failed}; "
            "use a larger span, batch_aware: false, or another flavor.",
            *notes,
        )
    if failed:
        notes.append(f"gene selection: the local regression fails in {failed}; these batches do not count.")
    for name, trend in zip(sized, trends, strict=True):
        if trend is not None and trend.jitter:
            shift = f"means shifted by up to {trend.jitter:.0e}"
            notes.append(f"gene selection: the local regression in {name} took {shift}, as many genes share one mean.")
    std = np.stack([np.ones(counts.n_genes) if trend is None else trend.std for trend in trends])
    used = np.where((groups >= 0) & fitted[groups], groups, -1)
    clips = Sums(used, len(names), counts.n_genes, Clipped(std * np.sqrt(raw.n) + mean, groups))
    one_pass(counts, [clips], "clipped variances")
    with np.errstate(divide="ignore", invalid="ignore"):  # skipped batches only
        scores = _normalized_variance(raw, clips, std)[fitted]
    _enough_batches(len(scores), settings)
    return {n: hvg.rank_variances(scores, n, settings.flavor, settings.min_batches) for n in settings.numbers}


def by_dispersion(
    expression: Sums, ids: np.ndarray, names: list[str], settings: GeneSelection, notes: list[str]
) -> Rankings:
    """Flavors seurat and cell_ranger: dispersion of normalised expression (batches, genes); ids (genes,)."""
    enough = _enough(expression.sizes, names, settings, notes)
    mean, variance = expression.mean()[enough], expression.variance(ddof=1)[enough]
    n = expression.n[enough]
    measured = np.broadcast_to(n > 0, mean.shape)
    _enough_batches(len(mean), settings)
    return {
        number: hvg.rank_dispersions(mean, variance, ids, number, settings.flavor, measured, settings.min_batches)
        for number in settings.numbers
    }


def _normalized_variance(counts: Moments, clips: Moments, std: np.ndarray) -> np.ndarray:
    """Variance (groups, genes) of clipped counts around the unclipped mean, in units of the expected std.

    NaN where fewer than two cells were measured for a gene.
    """
    n, mean = counts.n, counts.mean()
    score = (1 / ((n - 1) * np.square(std))) * (n * np.square(mean) + clips.squares - 2 * clips.total * mean)
    return np.where(n > 1, score, np.nan)


def _enough(sizes: np.ndarray, names: list[str], settings: GeneSelection, notes: list[str]) -> np.ndarray:
    """Mask of the batches with enough cells; the others are noted."""
    enough: np.ndarray = sizes >= settings.min_cells_per_batch
    small = ", ".join(name for name, ok in zip(_sized(names, sizes), enough, strict=True) if not ok)
    if small:
        few = f"fewer than {settings.min_cells_per_batch} cells (min_cells_per_batch)"
        notes.append(f"gene selection: {few} in {small}; these batches do not count.")
    if not enough.any():
        raise UserError(*notes, "gene selection: no batch is left; use batch_aware: false.")
    return enough


def _enough_batches(n_batches: int, settings: GeneSelection) -> None:
    if settings.min_batches > n_batches:
        raise UserError(
            f"gene selection: min_batches: {settings.min_batches}, but {n_batches} batches count; at most {n_batches}."
        )


def _sized(names: list[str], sizes: np.ndarray) -> list[str]:
    return [f"'{name}' ({size} cells)" for name, size in zip(names, sizes, strict=True)]
