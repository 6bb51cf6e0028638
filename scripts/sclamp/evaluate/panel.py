"""Which scores an embedding gets, in the order of the table, and what each of them is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from sclamp.evaluate import clustering, lisi, pcr, probe, silhouette
from sclamp.evaluate.aggregate import aggregate
from sclamp.evaluate.cells import KMEANS_STARTS, CellSet
from sclamp.evaluate.connectivity import directed_graph, graph_connectivity
from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.types import Score


class Metric(NamedTuple):
    """A score: its name, which definition it follows, and the function from cells to a number."""

    name: str
    implementation: str
    compute: Callable[[CellSet], float]


def _over_kmeans(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[CellSet], float]:
    return lambda c: float(np.mean([score(c.several_labels, clusters) for clusters in c.kmeans]))


def _isolated_silhouette(cells: CellSet) -> float:
    labels = cells.several_labels[cells.sample]
    means = [cells.label_silhouettes[labels == label].mean() for label in cells.isolated_labels]
    return float(np.mean(means) + 1) / 2


def _isolated_f1(cells: CellSet) -> float:
    labels, clusterings = cells.several_labels, cells.leiden.values()
    best = [max(clustering.best_f1(labels == label, found) for found in clusterings) for label in cells.isolated_labels]
    return float(np.mean(best))


def _silhouette_batch(cells: CellSet) -> float:
    labels, batches, rows = cells.several_labels, cells.several_batches, cells.sample
    return silhouette.silhouette_batch(cells.embedding[rows], labels[rows], batches[rows])


def _cilisi(cells: CellSet) -> float:
    values = lisi.cilisi(cells.embedding, cells.several_labels, cells.several_batches, cells.k)
    return float(np.nanmean(values))


def _connectivity_directed(cells: CellSet) -> float:
    size = cells.settings.graph_neighbors
    return graph_connectivity(directed_graph(cells.nearest(size - 1), size), cells.several_labels)


def _pcr(cells: CellSet) -> float:
    batches = cells.several_batches
    if cells.reference is None:
        raise NotApplicable("no reference embedding was given (--reference)")
    return pcr.pcr_comparison(cells.reference, cells.embedding, batches)


KMEANS = f"k-means, k = number of labels, mean over {KMEANS_STARTS} starts"
SAMPLED = "beyond exact_cells of a sample stratified by label"
LEIDEN = "Leiden (igraph, modularity, 2 iterations, seeded)"

METRICS = (
    Metric("nmi_kmeans", f"arithmetic NMI; {KMEANS}", _over_kmeans(clustering.nmi)),
    Metric("ari_kmeans", f"ARI; {KMEANS}", _over_kmeans(clustering.ari)),
    Metric(
        "nmi_leiden",
        f"arithmetic NMI; {LEIDEN}, resolution 1",
        lambda c: clustering.nmi(c.several_labels, c.leiden_at_one),
    ),
    Metric("ari_leiden", f"ARI; {LEIDEN}, resolution 1", lambda c: clustering.ari(c.several_labels, c.leiden_at_one)),
    Metric(
        "nmi_leiden_best",
        f"arithmetic NMI; {LEIDEN}, best NMI of the resolutions",
        lambda c: clustering.nmi(c.several_labels, c.best_leiden),
    ),
    Metric(
        "ari_leiden_best",
        f"ARI; {LEIDEN}, best NMI of the resolutions",
        lambda c: clustering.ari(c.several_labels, c.best_leiden),
    ),
    Metric(
        "silhouette_label",
        f"euclidean, scaled to 0..1; as scib; {SAMPLED}",
        lambda c: (c.label_silhouettes.mean() + 1) / 2,
    ),
    Metric("isolated_labels_silhouette", f"labels in the fewest batches; as scib; {SAMPLED}", _isolated_silhouette),
    Metric(
        "isolated_labels_f1", f"labels in the fewest batches; {LEIDEN}, best of the resolutions; as scib", _isolated_f1
    ),
    Metric("clisi_knn", "neighbours by distance; as scib-metrics", lambda c: lisi.clisi(c.label_lisi, c.n_labels)),
    Metric("ilisi_knn", "neighbours by distance; as scib-metrics", lambda c: lisi.ilisi(c.batch_lisi, c.n_batches)),
    Metric("cilisi_knn", "neighbours of the same label, mean over cells; Andreatta et al. 2024", _cilisi),
    Metric(
        "bras",
        "cosine, mean over other batches; as scib-metrics",
        lambda c: silhouette.bras(c.embedding, c.several_labels, c.several_batches),
    ),
    Metric(
        "silhouette_batch",
        f"euclidean, nearest batch; as scib; {SAMPLED}; saturates: never read it alone",
        _silhouette_batch,
    ),
    Metric(
        "graph_connectivity", "fuzzy symmetric graph; as scib", lambda c: graph_connectivity(c.graph, c.several_labels)
    ),
    Metric(
        "graph_connectivity_directed",
        "strong components of the directed graph; as scib-metrics",
        _connectivity_directed,
    ),
    Metric("pcr_comparison", "all components, against the PCA of uncorrected data; as scib-metrics", _pcr),
)
LOGISTIC = "logistic regression, L2"


def score_cells(cells: Callable[[], CellSet]) -> list[Score]:
    """Every integration score of a set of cells, and their aggregate.

    cells: gives the set; what it raises (`NotApplicable`, `Unscorable`) becomes the status of every score.
    """

    def compute(metric: Metric) -> float:
        return metric.compute(cells())

    scores = [measure(m.name, m.implementation, partial(compute, m)) for m in METRICS]
    return scores + aggregate(scores)


def score_across_batches(cells: Callable[[], CellSet]) -> list[Score]:
    """Probes of labels that are carried over to a batch they have not seen."""

    @cache
    def left_out() -> tuple[float, float]:
        c = cells()
        return probe.leave_one_batch_out(c.embedding, c.several_labels, c.several_batches)

    how = f"{LOGISTIC}; trained on all batches but one, scored on that one, mean over batches"
    return [
        measure("lobo_label_accuracy", how, lambda: left_out()[0]),
        measure("lobo_label_macro_f1", how, lambda: left_out()[1]),
    ]


def score_held_out_probes(cells: Callable[[], CellSet], train: np.ndarray) -> list[Score]:
    """Probes trained on the cells of the mask `train` (those that trained the model), scored on the others."""

    @cache
    def of_labels() -> tuple[np.ndarray, np.ndarray]:
        return probe.held_out_prediction(cells().embedding, cells().several_labels, train, ~train)

    def of_batches() -> tuple[np.ndarray, np.ndarray]:
        return probe.held_out_prediction(cells().embedding, cells().several_batches, train, ~train)

    how = f"{LOGISTIC}; trained on the model's training cells, scored on held-out cells"
    return [
        measure("label_accuracy", how, lambda: probe.accuracy(*of_labels())),
        measure("label_macro_f1", how, lambda: probe.macro_f1(*of_labels())),
        measure("batch_accuracy", f"{how}; lower is better", lambda: probe.accuracy(*of_batches())),
    ]
