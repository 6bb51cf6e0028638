"""The cells that are scored: embedding, batches, labels, neighbours, and what several scores share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate import clustering, graph_lisi, kbet, lisi, partitions
from sclamp.evaluate.expression import Expression
from sclamp.evaluate.graph import fuzzy_graph, leiden, network_of
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.neighbors import Neighbors, find_neighbors
from sclamp.evaluate.silhouette import silhouette_widths

if TYPE_CHECKING:
    import igraph

KMEANS_STARTS = 10
"""One k-means start moves the total by .007: scores are means over this many."""


def problem_of(embedding: np.ndarray) -> str:
    """Why an embedding cannot be scored at all; empty when it can."""
    broken = ~np.isfinite(embedding).all(axis=1)
    if broken.any():
        return f"{broken.sum()} of {len(embedding)} cells have NaN or infinite values in their embedding"
    if len(embedding) > 1 and (embedding == embedding[0]).all():
        return f"all {len(embedding)} cells have the same embedding"
    return ""


class Extras(NamedTuple):
    """What single scores need besides.

    batch_names, label_names: of the codes. pseudotime (n,): of the uncorrected data. expression: of the n cells.
    cells: "all" or "held_out".
    """

    batch_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    pseudotime: np.ndarray | None = None
    expression: Expression | None = None
    cells: str = "all"


class PathNeighbors(NamedTuple):
    """Neighbours by shortest paths of some cells (rows): indices, distances (r, 90)."""

    rows: np.ndarray
    indices: np.ndarray
    distances: np.ndarray


@dataclass
class CellSet:
    """Cells to be scored together. What costs time is computed on first use and kept.

    embedding (n, d) float64, finite. batches, labels (n,): codes 0..; labels None without a label column. neighbors:
    among these cells, or None where there are too few. reference (n, k) or None: embedding without correction.
    k: neighbours that were asked for.
    """

    embedding: np.ndarray
    batches: np.ndarray
    labels: np.ndarray | None
    neighbors: Neighbors
    k: int
    reference: np.ndarray | None
    settings: Evaluate
    extras: Extras = field(default_factory=Extras)

    def __len__(self) -> int:
        return len(self.embedding)

    def nearest(self, count: int) -> Neighbors:
        """All known neighbours of the cells, at least `count`; not applicable where there are fewer."""
        if len(self) <= count + 1:
            raise NotApplicable(f"{len(self)} cells are too few for {count} neighbours of each")
        if self.neighbors.k < count:
            raise NotApplicable(
                f"{count} neighbours of each cell are needed, {self.neighbors.k} are known (evaluate.neighbors)"
            )
        return self.neighbors

    @property
    def several_batches(self) -> np.ndarray:
        """Codes of at least two batches."""
        if (n := self.n_batches) < 2:
            raise NotApplicable(f"the {len(self)} cells are of {n} batch")
        return self.batches

    @property
    def several_labels(self) -> np.ndarray:
        """Codes of at least two labels, fewer than cells."""
        if self.labels is None:
            raise NotApplicable("the data set has no label column")
        if self.n_labels < 2:
            raise NotApplicable(f"the {len(self)} cells are of {self.n_labels} label")
        if self.n_labels >= len(self):
            raise NotApplicable(f"each of the {len(self)} cells has its own label")
        return self.labels

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(np.unique(self.batches))

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return 0 if self.labels is None else len(np.unique(self.labels))

    # --- shared between scores ---------------------------------------------------------------------------------------

    @cached_property
    def sample(self) -> np.ndarray:
        """Cells for scores that look at all pairs: all of them, or settings.exact_cells, stratified by label."""
        return stratified_sample(self.several_labels, self.settings.exact_cells, self.settings.seed)

    @cached_property
    def label_silhouettes(self) -> np.ndarray:
        """Silhouette of each cell of the sample with respect to the labels."""
        codes = np.unique(self.several_labels[self.sample], return_inverse=True)[1]
        return silhouette_widths(self.embedding[self.sample], codes)

    @cached_property
    def graph(self) -> sparse.csr_matrix:
        """Fuzzy graph of the nearest neighbours."""
        return fuzzy_graph(self.nearest(self.settings.graph_neighbors - 1), self.settings.graph_neighbors)

    @cached_property
    def network(self) -> igraph.Graph:
        """The graph, for igraph."""
        return network_of(self.graph)

    @cached_property
    def leiden(self) -> dict[float, np.ndarray]:
        """Resolution -> clusters."""
        return {r: leiden(self.network, r, self.settings.seed) for r in self.settings.resolutions}

    @cached_property
    def leiden_at_one(self) -> np.ndarray:
        """Clusters at resolution 1."""
        return self.leiden[1.0] if 1.0 in self.leiden else leiden(self.network, 1.0, self.settings.seed)

    @cached_property
    def best_leiden(self) -> np.ndarray:
        """Clusters at the resolution with the best NMI (the lowest such resolution)."""
        labels = self.several_labels

        def agreement(clusters: np.ndarray) -> float:
            return partitions.over_clusterings(partitions.nmi, labels, [clusters]).value

        return max(self.leiden.values(), key=agreement)

    @cached_property
    def kmeans(self) -> list[np.ndarray]:
        """Clusters of several k-means starts, as many as there are labels."""
        n_labels = len(np.unique(self.several_labels))
        centred = self.embedding - self.embedding.mean(axis=0)
        rng = np.random.default_rng(self.settings.seed)
        return [clustering.kmeans(centred, n_labels, rng) for _ in range(KMEANS_STARTS)]

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the neighbours of each cell, for LISI."""
        near = self.nearest(self.k)
        return lisi.neighbor_weights(near.distances, lisi.perplexity_of(near.k))

    @cached_property
    def batch_lisi(self) -> np.ndarray:
        """LISI of batches of each cell."""
        return lisi.lisi(self.weights, self.neighbors.indices, self.several_batches)

    @cached_property
    def label_lisi(self) -> np.ndarray:
        """LISI of labels of each cell."""
        return lisi.lisi(self.weights, self.neighbors.indices, self.several_labels)

    @cached_property
    def cilisi(self) -> np.ndarray:
        """LISI of batches among each cell's neighbours of its label, scaled; NaN where there is none."""
        return lisi.cilisi(self.embedding, self.several_labels, self.several_batches, self.k)

    @cached_property
    def kbet(self) -> np.ndarray:
        """1 where the test accepts a cell's neighbourhood, 0 where it rejects it, NaN where there is none."""
        labels, batches = self.several_labels, self.several_batches
        near = self.nearest(kbet.GRAPH_NEIGHBORS - 1)
        return kbet.accepted(fuzzy_graph(near, kbet.GRAPH_NEIGHBORS), labels, batches, self.sample)

    @cached_property
    def path_neighbors(self) -> PathNeighbors:
        """Neighbours by shortest paths on the graph, of all cells or of a sample stratified by batch."""
        if len(self) <= graph_lisi.NEIGHBORS:
            raise NotApplicable(f"{len(self)} cells are too few for {graph_lisi.NEIGHBORS} neighbours of each")
        rows = stratified_sample(self.batches, graph_lisi.MOST_CELLS, self.settings.seed)
        return PathNeighbors(rows, *graph_lisi.path_neighbors(self.graph, rows, graph_lisi.NEIGHBORS))

    def expression_of(self, score: str) -> Expression:
        """What the score needs of the expression, or why it is not there."""
        known = self.extras.expression
        if known is None:
            raise NotApplicable("no description of the expression was given (--expression)")
        if score in known.reasons:
            raise NotApplicable(known.reasons[score])
        return known

    @cached_property
    def isolated_labels(self) -> np.ndarray:
        """Labels that occur in the fewest batches; not applicable where every label is in every batch."""
        pairs = np.unique(np.column_stack([self.several_labels, self.several_batches]), axis=0)
        occurs_in = np.bincount(pairs[:, 0])
        if occurs_in.min() == self.n_batches:
            raise NotApplicable(f"every label is in all {self.n_batches} batches")
        return np.flatnonzero(occurs_in == occurs_in.min())


def stratified_sample(groups: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of at most `most` cells, ascending, in which each group keeps its share to within one cell."""
    n_cells = len(groups)
    if n_cells <= most:
        return np.arange(n_cells)
    shuffled = np.random.default_rng(seed).permutation(n_cells)
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    return np.sort(by_group[((np.arange(most) + 0.5) * n_cells / most).astype(np.int64)])


def cell_set(
    embedding: np.ndarray,
    batches: np.ndarray,
    labels: np.ndarray | None,
    reference: np.ndarray | None,
    k: int,
    settings: Evaluate,
    known: Neighbors | None = None,
    extras: Extras | None = None,
) -> CellSet:
    """Gather some cells: codes become 0.. without gaps, neighbours are searched among them unless `known`.

    extras: its names are those of the codes as given.
    """
    extras = extras or Extras()
    of_batches, batches = np.unique(batches, return_inverse=True)
    of_labels, labels = (None, None) if labels is None else np.unique(labels, return_inverse=True)
    return CellSet(
        embedding=np.asarray(embedding, dtype=np.float64),
        batches=batches,
        labels=labels,
        neighbors=known if known is not None else find_neighbors(embedding, k),
        k=k,
        reference=reference,
        settings=settings,
        extras=extras._replace(
            batch_names=_named(extras.batch_names, of_batches), label_names=_named(extras.label_names, of_labels)
        ),
    )


def _named(names: tuple[str, ...], codes: np.ndarray | None) -> tuple[str, ...]:
    """Names of the codes that occur; the codes themselves where no names are known."""
    return () if codes is None else tuple(names[c] if names else str(c) for c in codes)
