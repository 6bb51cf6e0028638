"""How scores are shown: in which group, under which name, and which way is better."""

from __future__ import annotations

from typing import NamedTuple

GROUPS = ("aggregate", "bio", "batch", "reconstruction", "probe", "other")
GROUP_TITLES = {
    "aggregate": "Aggregate",
    "bio": "Biology kept",
    "batch": "Batches mixed",
    "reconstruction": "Reconstruction",
    "probe": "Probes",
    "other": "Other",
}


class Metric(NamedTuple):
    """How a score is shown.

    group: one of GROUPS. title: heading of the column. meaning: one sentence. lower_is_better: as for an error.
    extra: True for a variant of another score, which tables show on demand and figures leave out.
    """

    group: str
    title: str
    meaning: str = ""
    lower_is_better: bool = False
    extra: bool = False


_ISOLATED = "Cell types that few batches have"
_TEST = "of reconstruction and data on test cells"

METRICS: dict[str, Metric] = {
    "total": Metric("aggregate", "Total", "0.6 x biology + 0.4 x batches."),
    "bio": Metric("aggregate", "Bio", "Mean of scores for biology."),
    "batch": Metric("aggregate", "Batch", "Mean of scores for batches."),
    "nmi_kmeans": Metric("bio", "NMI k-means", "Agreement of k-means clusters and cell types: mutual information."),
    "ari_kmeans": Metric("bio", "ARI k-means", "Agreement of k-means clusters and cell types: adjusted Rand index."),
    "nmi_leiden_best": Metric("bio", "NMI Leiden best", "As NMI, Leiden clusters at the best of several resolutions."),
    "ari_leiden_best": Metric("bio", "ARI Leiden best", "ARI of the same clusters."),
    "nmi_leiden": Metric("bio", "NMI Leiden 1", "As NMI, Leiden clusters at resolution 1.", extra=True),
    "ari_leiden": Metric("bio", "ARI Leiden 1", "ARI of the same clusters.", extra=True),
    "silhouette_label": Metric("bio", "Silhouette", "How far apart cell types are; 0.5 means no separation."),
    "isolated_labels_f1": Metric("bio", "Isolated F1", f"{_ISOLATED}: best F1 of a cluster."),
    "isolated_labels_silhouette": Metric("bio", "Isolated silh.", f"{_ISOLATED}: their silhouette."),
    "clisi_knn": Metric("bio", "cLISI", "Purity of cell types among nearest neighbours."),
    "ilisi_knn": Metric("batch", "iLISI", "Mixture of batches among nearest neighbours."),
    "cilisi_knn": Metric("batch", "ciLISI", "Mixture of batches among nearest neighbours of one cell type."),
    "bras": Metric("batch", "BRAS", "Batch silhouette against all other batches, within cell types."),
    "graph_connectivity_directed": Metric("batch", "Graph conn.", "Share of each cell type in one connected piece."),
    "graph_connectivity": Metric("batch", "Graph conn. scib", "The same on a symmetric graph; saturates.", extra=True),
    "pcr_comparison": Metric("batch", "PCR", "Variance explained by batch, compared with PCA."),
    "kbet": Metric("batch", "kBET", "Neighbourhoods with the expected shares of batches."),
    "silhouette_batch": Metric("batch", "Silh. batch", "Near 1 for almost any embedding.", extra=True),
    "pearson": Metric("reconstruction", "Pearson", f"Correlation {_TEST}."),
    "spearman": Metric("reconstruction", "Spearman", f"Rank correlation {_TEST}."),
    "mse": Metric("reconstruction", "MSE", f"Mean squared difference {_TEST}.", lower_is_better=True),
    "label_accuracy": Metric("probe", "Label acc.", "Cell types of unseen cells, read off by a linear probe."),
    "label_macro_f1": Metric("probe", "Label F1", "The same, mean F1 over cell types.", extra=True),
    "lobo_label_accuracy": Metric("probe", "LOBO acc.", "Cell types of a batch that the linear probe has not seen."),
    "lobo_label_macro_f1": Metric("probe", "LOBO F1", "The same, mean F1 over cell types.", extra=True),
    "batch_accuracy": Metric("probe", "Batch acc.", "Batches, read off by a linear probe.", lower_is_better=True),
}
_ENDINGS = {"_gene": "per gene", "_cell": "per cell"}


def describe(task: str, metric: str) -> Metric:
    """The entry of METRICS; of a name with a known ending, that of its stem; others are grouped by their task."""
    if metric in METRICS:
        return METRICS[metric]
    for ending, words in _ENDINGS.items():
        if (stem := metric.removesuffix(ending)) != metric and stem in METRICS:
            known = METRICS[stem]
            meaning = f"{known.meaning.rstrip('.')}, {words}."
            return known._replace(title=f"{known.title} {words}", meaning=meaning, extra=True)
    group = task if task in GROUPS else "other"
    return Metric(group, metric.replace("_", " "), lower_is_better=metric.split("_")[0] in {"mse", "rmse", "mae"})
