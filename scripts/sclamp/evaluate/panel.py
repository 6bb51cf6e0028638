"""Which scores an embedding gets, in the order of the table, and what each of them is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from sclamp.core.progress import naming
from sclamp.evaluate import cell_cycle, graph_lisi, lisi, partitions, pcr, probe, scgraph, within_labels
from sclamp.evaluate.aggregate import aggregate
from sclamp.evaluate.cells import KMEANS_STARTS, CellSet
from sclamp.evaluate.connectivity import directed_graph, graph_connectivity
from sclamp.evaluate.measure import Measured, NotApplicable, measure_statistic
from sclamp.evaluate.moran import morans_i
from sclamp.evaluate.statistic import Statistic, fixed, mean_of, mean_over_groups, median_of, on_rows, scattered
from sclamp.evaluate.trajectory import trajectory_conservation
from sclamp.types import Score


class Metric(NamedTuple):
    """A score: its name, which definition it follows, and the function from cells to its statistic."""

    name: str
    implementation: str
    compute: Callable[[CellSet], Statistic]


def _nmi(clusterings: Callable[[CellSet], list[np.ndarray]]) -> Callable[[CellSet], Statistic]:
    return lambda c: partitions.over_clusterings(partitions.nmi, c.several_labels, clusterings(c))


def _ari(clusterings: Callable[[CellSet], list[np.ndarray]]) -> Callable[[CellSet], Statistic]:
    return lambda c: partitions.over_clusterings(partitions.ari, c.several_labels, clusterings(c))


def _scaled(statistic: Statistic) -> Statistic:
    """From -1..1 to 0..1."""
    return Statistic(lambda weights: (statistic.of(weights) + 1) / 2, statistic.n_cells)


def _silhouette_label(cells: CellSet) -> Statistic:
    return _scaled(mean_of(scattered(cells.label_silhouettes, cells.sample, len(cells))))


def _isolated_silhouette(cells: CellSet) -> Statistic:
    values = scattered(cells.label_silhouettes, cells.sample, len(cells))
    values[~np.isin(cells.several_labels, cells.isolated_labels)] = np.nan
    return _scaled(mean_over_groups(values, cells.several_labels))


def _isolated_f1(cells: CellSet) -> Statistic:
    return partitions.isolated_f1(cells.several_labels, cells.isolated_labels, list(cells.leiden.values()))


def _silhouette_batch(cells: CellSet) -> Statistic:
    labels, rows = cells.several_labels[cells.sample], cells.sample
    values = within_labels.silhouette_mixing(cells.embedding[rows], labels, cells.several_batches[rows])
    return on_rows(mean_over_groups(values, labels), rows, len(cells))


def _bras(cells: CellSet) -> Statistic:
    labels, batches = cells.several_labels, cells.several_batches
    return mean_over_groups(within_labels.bras_mixing(cells.embedding, labels, batches), labels)


def _clisi(cells: CellSet) -> Statistic:
    return median_of(cells.label_lisi, partial(lisi.scaled_clisi, n_labels=cells.n_labels))


def _ilisi(cells: CellSet) -> Statistic:
    return median_of(cells.batch_lisi, partial(lisi.scaled_ilisi, n_batches=cells.n_batches))


def _connectivity_directed(cells: CellSet) -> Statistic:
    size = cells.settings.graph_neighbors
    return graph_connectivity(directed_graph(cells.nearest(size - 1), size), cells.several_labels)


def _pcr(cells: CellSet) -> Statistic:
    batches = cells.several_batches
    if cells.reference is None:
        raise NotApplicable("no reference embedding was given (--reference)")
    return pcr.pcr_comparison(cells.reference, cells.embedding, batches)


def _graph_lisi(cells: CellSet, groups: np.ndarray, scale: Callable[[float], float]) -> Statistic:
    near = cells.path_neighbors
    values = graph_lisi.graph_lisi(near.indices, near.distances, groups)
    return on_rows(median_of(values, scale), near.rows, len(cells))


def _ilisi_graph(cells: CellSet) -> Statistic:
    return _graph_lisi(cells, cells.several_batches, partial(lisi.scaled_ilisi, n_batches=cells.n_batches))


def _clisi_graph(cells: CellSet) -> Statistic:
    return _graph_lisi(cells, cells.several_labels, partial(lisi.scaled_clisi, n_labels=cells.n_labels))


def _cell_cycle(cells: CellSet) -> Statistic:
    known = cells.expression_of("cell_cycle")
    if known.cycle is None:
        raise NotApplicable("the description of the expression has no cell-cycle scores")
    before = known.share_before[cells.extras.cells]
    return cell_cycle.conservation(cells.embedding, known.cycle, cells.batches, cells.extras.batch_names, before)


def _trajectory(cells: CellSet) -> Statistic:
    labels, pseudotime = cells.several_labels, cells.extras.pseudotime
    if pseudotime is None:
        raise NotApplicable("the data set has no pseudotime (dataset key `pseudotime`)")
    return trajectory_conservation(cells.graph, labels, pseudotime)


def _morans_i(cells: CellSet) -> Statistic:
    genes = cells.expression_of("morans_i").genes
    if genes is None:
        raise NotApplicable("the description of the expression has no variable genes")
    return morans_i(cells.graph, genes)


def _scgraph(cells: CellSet) -> Statistic:
    labels, agreed = cells.several_labels, cells.expression_of("scgraph").consensus
    if agreed is None:
        raise NotApplicable("the description of the expression has no distances between labels")
    return fixed(scgraph.scgraph(cells.embedding, labels, cells.extras.label_names, agreed), len(cells))


KMEANS = f"k-means, k = number of labels, mean over {KMEANS_STARTS} starts"
SAMPLED = "beyond exact_cells of a sample stratified by label"
LEIDEN = "Leiden (igraph, modularity, 2 iterations, seeded)"
SOME = f"beyond {graph_lisi.MOST_CELLS} cells of a sample stratified by batch"
BEST = "best NMI of the resolutions"

METRICS = (
    Metric("nmi_kmeans", f"arithmetic NMI; {KMEANS}", _nmi(lambda c: c.kmeans)),
    Metric("ari_kmeans", f"ARI; {KMEANS}", _ari(lambda c: c.kmeans)),
    Metric("nmi_leiden", f"arithmetic NMI; {LEIDEN}, resolution 1", _nmi(lambda c: [c.leiden_at_one])),
    Metric("ari_leiden", f"ARI; {LEIDEN}, resolution 1", _ari(lambda c: [c.leiden_at_one])),
    Metric("nmi_leiden_best", f"arithmetic NMI; {LEIDEN}, {BEST}", _nmi(lambda c: [c.best_leiden])),
    Metric("ari_leiden_best", f"ARI; {LEIDEN}, {BEST}", _ari(lambda c: [c.best_leiden])),
    Metric("silhouette_label", f"euclidean, scaled to 0..1; as scib; {SAMPLED}", _silhouette_label),
    Metric("isolated_labels_silhouette", f"labels in the fewest batches; as scib; {SAMPLED}", _isolated_silhouette),
    Metric(
        "isolated_labels_f1", f"labels in the fewest batches; {LEIDEN}, best of the resolutions; as scib", _isolated_f1
    ),
    Metric("clisi_knn", "neighbours by distance; as scib-metrics", _clisi),
    Metric("ilisi_knn", "neighbours by distance; as scib-metrics", _ilisi),
    Metric(
        "cilisi_knn",
        "neighbours of the same label, mean over cells; Andreatta et al. 2024",
        lambda c: mean_of(c.cilisi),
    ),
    Metric("bras", "cosine, mean over other batches; as scib-metrics", _bras),
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
    Metric(
        "kbet",
        f"acceptance within labels, neighbours in a diffusion map, mean over labels; as scib-metrics, {SAMPLED}",
        lambda c: mean_over_groups(c.kbet, c.several_labels),
    ),
    Metric("ilisi_graph", f"neighbours by shortest paths; as scib; {SOME}", _ilisi_graph),
    Metric("clisi_graph", f"neighbours by shortest paths; as scib; {SOME}", _clisi_graph),
    Metric("cell_cycle", "variance that S and G2/M scores explain, kept within batches; as scib", _cell_cycle),
    Metric("trajectory", "Spearman of diffusion pseudotimes, scaled to 0..1; as scib", _trajectory),
    Metric("morans_i", "mean over the 100 most variable genes, scaled to 0..1; as scib 1.2", _morans_i),
    Metric("scgraph", "weighted correlation with distances of labels within batches; as scgraph-eval", _scgraph),
)


def measure_cells(cells: Callable[[], CellSet]) -> list[Measured]:
    """Every integration score of a set of cells, and their aggregate, each with its statistic.

    cells: gives the set; what it raises (`NotApplicable`, `Unscorable`) becomes the status of every score.
    """

    def compute(metric: Metric) -> Statistic:
        return metric.compute(cells())

    found = []
    for metric in naming(METRICS, "scores", lambda metric: metric.name):
        found.append(measure_statistic(metric.name, metric.implementation, partial(compute, metric)))
    return found + aggregate(found)


def score_cells(cells: Callable[[], CellSet]) -> list[Score]:
    """The scores of `measure_cells`."""
    return [measured.score for measured in measure_cells(cells)]


def measure_across_batches(cells: Callable[[], CellSet]) -> list[Measured]:
    """Probes of labels that are carried over to a batch they have not seen."""

    @cache
    def left_out() -> probe.LeftOut:
        c = cells()
        return probe.leave_one_batch_out(c.embedding, c.several_labels, c.several_batches)

    how = f"{probe.METHOD}; trained on all batches but one, scored on that one, mean over batches"
    return [
        measure_statistic("lobo_label_accuracy", how, lambda: left_out().accuracy()),
        measure_statistic("lobo_label_macro_f1", how, lambda: left_out().macro_f1()),
    ]


def measure_held_out_probes(cells: Callable[[], CellSet], train: np.ndarray) -> list[Measured]:
    """Probes trained on the cells of the mask `train` (those that trained the model), scored on the others.

    The statistics are of the scored cells only.
    """

    @cache
    def of_labels() -> tuple[np.ndarray, np.ndarray]:
        return probe.held_out_prediction(cells().embedding, cells().several_labels, train, ~train)

    @cache
    def of_batches() -> tuple[np.ndarray, np.ndarray]:
        return probe.held_out_prediction(cells().embedding, cells().several_batches, train, ~train)

    how = f"{probe.METHOD}; trained on the model's training cells, scored on held-out cells"
    return [
        measure_statistic("label_accuracy", how, lambda: probe.accuracy(*of_labels())),
        measure_statistic("label_macro_f1", how, lambda: partitions.macro_f1(*of_labels())),
        measure_statistic("batch_accuracy", f"{how}; lower is better", lambda: probe.accuracy(*of_batches())),
    ]


def cell_scores(cells: Callable[[], CellSet], scored: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of single cells, name -> (n,) float32; NaN for cells outside the mask `scored` and where there is none."""
    ways: dict[str, Callable[[CellSet], np.ndarray]] = {
        "lisi_batch": lambda c: c.batch_lisi,
        "lisi_label": lambda c: c.label_lisi,
        "cilisi": lambda c: c.cilisi,
        "silhouette_label": lambda c: scattered(c.label_silhouettes, c.sample, len(c)),
        "kbet": lambda c: c.kbet,
    }
    found = {}
    for name, values_of in ways.items():
        found[name] = np.full(len(scored), np.nan, np.float32)
        with contextlib.suppress(Exception):  # the score made of these values has a row that says why there are none
            found[name][scored] = values_of(cells())
    return found
