"""Statistics of genes over many cells, of one or several files; parts that were made apart can be merged.

Counts as they are, and log-normalised; quantiles are those of normalised counts without zeros (count / library size x
target_sum, no logarithm), as tokenisers divide by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sclamp.config.gene_statistics import GeneStatisticsSettings
from sclamp.core.errors import UserError
from sclamp.data import nonzeros, tdigest
from sclamp.data.h5ad import Cells, CountMap
from sclamp.data.moments import Moments, Sums, lognorm, one_pass
from sclamp.data.nonzeros import Quantiles, Values
from sclamp.data.panels import stored
from sclamp.data.passes import by_cells
from sclamp.data.splits import TRAIN

ALL_CELLS = None
"""Name of the group of all cells; the other groups are batches."""


@dataclass(frozen=True)
class Spread:
    """n, mean and population variance of some values, arrays of one shape; 0 where n is."""

    n: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, moments: Moments) -> Spread:
        """Of sums; what rounding leaves of a variance of zero is zero."""
        mean, variance = moments.mean(), moments.variance(ddof=0)
        variance = np.where(variance <= 1e-12 * mean**2, 0.0, variance)
        return cls(np.broadcast_to(moments.n, mean.shape), mean, variance)

    def pooled(self) -> Spread:
        """Of all values along the first axis together (Chan et al. 1979)."""
        n = self.n.sum(axis=0)
        whole = np.maximum(n, 1)
        mean = (self.n * self.mean).sum(axis=0) / whole
        between = (self.n * (self.mean - mean) ** 2).sum(axis=0)
        return Spread(n, mean, ((self.n * self.variance).sum(axis=0) + between) / whole)

    def of_sample(self) -> np.ndarray:
        """Variance over n - 1; NaN for fewer than two values."""
        return np.where(self.n > 1, self.variance * self.n / np.maximum(self.n - 1, 1), np.nan)


@dataclass(frozen=True)
class Statistics:
    """What is known of genes.

    groups: of cells; the first is `ALL_CELLS`. n_nonzero, counts, logs: (groups, genes): counts that are not zero,
    moments of counts and of log-normalised expression. quantiles: of all cells, at `shares`. recipe: target_sum, log1p.
    """

    genes: tuple[str, ...]
    groups: tuple[str | None, ...]
    n_nonzero: np.ndarray
    counts: Spread
    logs: Spread
    shares: tuple[float, ...]
    quantiles: Quantiles
    recipe: tuple[float, bool]

    def summary(self) -> str:
        """What was described, in a line."""
        cells, seen = int(self.counts.n[0].max(initial=0)), self.n_nonzero[0] > 0
        errors = self.quantiles.errors[:, seen].max(axis=0)
        sketched = f"; quantiles of {(errors > 0).sum()} genes by t-digest" if (errors > 0).any() else ""
        batches = f" of {len(self.groups) - 1} batches" if len(self.groups) > 1 else ""
        return f"{len(self.genes)} genes, {(~seen).sum()} of them never seen, in {cells} cells{batches}{sketched}"


class File:
    """One file of cells: counts, the cells that are described, and where its genes are among those of all files."""

    def __init__(self, counts: CountMap, cells: Cells, settings: GeneStatisticsSettings) -> None:
        obs, recipe = cells.obs, cells.spec["recipe"]
        self.counts, self.cells = counts, cells
        self.recipe = float(recipe["target_sum"]), bool(recipe["log1p"])
        train = (obs["split"] == TRAIN).to_numpy()
        self.used = train if settings.cells == "train" else np.ones(len(obs), dtype=bool)
        self.normal = lognorm(obs["library_size"].to_numpy(np.float64), *self.recipe)
        self.batches = sorted(obs["batch"][self.used].astype(str).unique()) if settings.by_batch else ["all cells"]
        codes = pd.Index(self.batches).get_indexer(obs["batch"].astype(str)) if settings.by_batch else 0
        self.groups = np.where(self.used, codes, -1)

    def sums(self) -> tuple[Sums, Sums]:
        """Moments of counts and of log-normalised expression (batches, genes), in one pass."""
        n, genes = len(self.batches), self.counts.n_genes
        panels = stored(self.cells.obs, self.cells.spec, self.cells.var.index)
        found = (
            Sums(self.groups, n, genes, panels=panels),
            Sums(self.groups, n, genes, self.normal, panels),
        )
        one_pass(self.counts, found, f"statistics of {self.counts.path}")
        return found

    def values(self, places: np.ndarray) -> Iterator[Values]:
        """Normalised counts of the cells described; places (genes,): of the file's genes among all."""
        what = f"quantiles of {self.counts.path}"
        for rows, block in by_cells(self.counts.blocks(), self.counts.n_cells, what):
            sizes = np.diff(block.indptr)
            values = block.data * np.repeat(self.normal.factors[rows], sizes)
            kept = np.repeat(self.used[rows], sizes)
            yield Values(places[block.indices[kept]], values[kept])


def describe(files: Sequence[tuple[CountMap, Cells]], settings: GeneStatisticsSettings) -> Statistics:
    """Statistics of the genes of all files; a gene that a file lacks is not measured in its cells.

    Batches of one name are one batch. Errors: files whose counts are normalised to different sums; no cell to describe.
    """
    inputs = [File(counts, cells, settings) for counts, cells in files]
    recipe = _one_recipe([(str(file.counts.path), file.recipe) for file in inputs])
    if not any(file.used.any() for file in inputs):
        raise UserError("gene statistics: there are no training cells; describe all: `cells: all`.")
    genes = list(dict.fromkeys(gene for file in inputs for gene in file.cells.var.index))
    places = [pd.Index(genes, dtype=object).get_indexer(file.cells.var.index) for file in inputs]
    names = sorted({name for file in inputs for name in file.batches}) if settings.by_batch else []
    parts = [_spread_out(file, place, tuple(names), len(genes)) for file, place in zip(inputs, places, strict=True)]
    n_nonzero = np.sum([part[0] for part in parts], axis=0)
    counts, logs = _pooled_in_place([part[1] for part in parts]), _pooled_in_place([part[2] for part in parts])
    shares = (0.5, *settings.quantiles)

    def stream() -> Iterator[Values]:
        for file, place in zip(inputs, places, strict=True):
            yield from file.values(place)

    quantiles = _quantiles(stream, n_nonzero[0], np.array(shares), settings)
    return Statistics(tuple(genes), (ALL_CELLS, *names), n_nonzero, counts, logs, shares, quantiles, recipe)


def merge(parts: Sequence[tuple[str, Statistics]], settings: GeneStatisticsSettings) -> Statistics:
    """Statistics of the cells of all parts (name, statistics), as if they had been described together.

    Moments to rounding, quantiles by digests. Errors: fewer than two parts, different sums, parts without digests.
    """
    if len(parts) < 2:
        raise UserError(f"merge: {len(parts)} part was named; at least 2 are needed.")
    recipe = _one_recipe([(name, part.recipe) for name, part in parts])
    bare = [
        f"{name}: holds no digests (it was written with `digest: 0`)." for name, p in parts if not p.quantiles.digests
    ]
    if bare or not settings.digest:
        raise UserError(*(bare or ["digest: 0, but a merge needs digests for its quantiles."]))
    genes = list(dict.fromkeys(gene for _, part in parts for gene in part.genes))
    groups = (ALL_CELLS, *sorted({name for _, part in parts for name in part.groups if name is not None}))
    placed = [_placed(part, genes, groups) for _, part in parts]
    n_nonzero = np.sum([part.n_nonzero for part in placed], axis=0)
    counts, logs = (_pooled_in_place([getattr(part, name) for part in placed]) for name in ("counts", "logs"))
    digests = tdigest.merged([part.quantiles.digests for part in placed], settings.digest)  # type: ignore[misc]
    shares = (0.5, *settings.quantiles)
    quantiles = nonzeros.from_digests(digests, np.array(shares))
    return Statistics(tuple(genes), groups, n_nonzero, counts, logs, shares, quantiles, recipe)


def _one_recipe(recipes: Sequence[tuple[str, tuple[float, bool]]]) -> tuple[float, bool]:
    name, first = recipes[0]
    others = [
        f"{other}: log-normalised with target_sum {recipe[0]:g}, log1p {recipe[1]}, but {name} with {first[0]:g}, "
        f"{first[1]}; prepare them alike."
        for other, recipe in recipes
        if recipe != first
    ]
    if others:
        raise UserError(*others)
    return first


def _spread_out(
    file: File, places: np.ndarray, names: tuple[str, ...], n_genes: int
) -> tuple[np.ndarray, Spread, Spread]:
    """n_nonzero, counts and logs (all cells and batches, all genes) of a file."""
    raw, normal = file.sums()
    rows = np.array([names.index(name) + 1 for name in file.batches]) if names else np.array([], dtype=np.int64)

    def whole(values: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        found = np.zeros((1 + len(names), n_genes), dtype=values.dtype)
        found[0, places] = pooled
        if names:
            found[np.ix_(rows, places)] = values
        return found

    spreads = []
    for moments in (raw, normal):
        by_batch = Spread.of(moments)
        pooled = by_batch.pooled()
        pairs = zip(vars(by_batch).values(), vars(pooled).values(), strict=True)
        spreads.append(Spread(*(whole(values, together) for values, together in pairs)))
    return whole(raw.n_nonzero, raw.n_nonzero.sum(axis=0)), spreads[0], spreads[1]


def _pooled_in_place(parts: Sequence[Spread]) -> Spread:
    """Of the same groups and genes in several parts, together."""
    n, mean, variance = (np.stack([getattr(part, name) for part in parts]) for name in ("n", "mean", "variance"))
    return Spread(n, mean, variance).pooled() if len(parts) > 1 else parts[0]


def _placed(part: Statistics, genes: list[str], groups: tuple[str | None, ...]) -> Statistics:
    """A part with the genes and groups of all parts; nothing is known of those that it lacks."""
    columns = pd.Index(genes, dtype=object).get_indexer(pd.Index(part.genes, dtype=object))
    rows = np.array([groups.index(name) for name in part.groups])

    def whole(values: np.ndarray) -> np.ndarray:
        found = np.zeros((len(groups), len(genes)), dtype=values.dtype)
        found[np.ix_(rows, columns)] = values
        return found

    counts, logs = (Spread(*map(whole, vars(spread).values())) for spread in (part.counts, part.logs))
    digests = part.quantiles.digests
    assert digests is not None, "checked by `merge`"
    lengths = np.zeros(len(genes), dtype=np.int64)
    lengths[columns] = np.diff(digests.starts)
    order = np.argsort(np.repeat(columns, np.diff(digests.starts)), kind="stable")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    moved = tdigest.Digests(digests.means[order], digests.weights[order], starts)
    none = np.empty((0, len(genes)))
    quantiles = Quantiles(none, none, moved)
    return Statistics(tuple(genes), groups, whole(part.n_nonzero), counts, logs, (), quantiles, part.recipe)


def _quantiles(
    stream: nonzeros.Stream, sizes: np.ndarray, shares: np.ndarray, settings: GeneStatisticsSettings
) -> Quantiles:
    memory, method = settings.memory_mb * 10**6, settings.method
    passes = nonzeros.n_passes(sizes, memory)
    if passes is None and method == "exact":
        raise UserError(
            f"method: exact, but one gene has {sizes.max():,} counts, more than fit in memory_mb: "
            f"{settings.memory_mb}; give more memory, or method: t-digest."
        )
    if method == "exact" or (method == "auto" and passes is not None and passes <= settings.max_passes):
        return nonzeros.exact(stream, sizes, shares, memory, settings.digest)
    found = nonzeros.sketched(stream, sizes, shares, memory, settings.digest or 200)
    return found if settings.digest else Quantiles(found.values, found.errors, None)
