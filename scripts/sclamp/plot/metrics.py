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
    """group: one of GROUPS. title: heading of the column. meaning: one sentence. lower_is_better: as for an error."""

    group: str
    title: str
    meaning: str = ""
    lower_is_better: bool = False


METRICS: dict[str, Metric] = {
    "total": Metric("aggregate", "Total", "0.6 x biology + 0.4 x batches."),
    "bio": Metric("aggregate", "Bio", "Mean of the scores for biology."),
    "batch": Metric("aggregate", "Batch", "Mean of the scores for batches."),
    "nmi": Metric("bio", "NMI", "Agreement of clusters and cell types: normalised mutual information."),
    "ari": Metric("bio", "ARI", "Agreement of clusters and cell types: adjusted Rand index."),
    "silhouette_label": Metric("bio", "Silhouette", "How far apart cell types are; 0.5 means no separation."),
    "isolated_labels_f1": Metric("bio", "Isolated F1", "Cell types of few batches: best F1 of a cluster."),
    "isolated_labels_silhouette": Metric("bio", "Isolated silh.", "Cell types of few batches: their silhouette."),
    "clisi": Metric("bio", "cLISI", "Purity of cell types among neighbours."),
    "ilisi": Metric("batch", "iLISI", "Mixture of batches among neighbours."),
    "cilisi": Metric("batch", "ciLISI", "Mixture of batches among neighbours of one cell type."),
    "bras": Metric("batch", "BRAS", "Batch silhouette against all other batches, within cell types."),
    "silhouette_batch": Metric("batch", "Silhouette", "Batch silhouette; near 1 for almost any embedding."),
    "graph_connectivity": Metric("batch", "Graph conn.", "Share of each cell type in one connected piece."),
    "pcr_comparison": Metric("batch", "PCR", "Variance explained by batch, compared with PCA."),
    "kbet": Metric("batch", "kBET", "Neighbourhoods with the expected share of batches."),
    "pearson": Metric("reconstruction", "Pearson", "Correlation of reconstruction and data on test cells."),
    "spearman": Metric("reconstruction", "Spearman", "Rank correlation of reconstruction and data on test cells."),
    "mse": Metric("reconstruction", "MSE", "Mean squared error on test cells.", lower_is_better=True),
}


def describe(task: str, metric: str) -> Metric:
    """The entry of METRICS, also for names with an ending (nmi_leiden); others are grouped by their task."""
    if metric in METRICS:
        return METRICS[metric]
    for end in range(len(metric) - 1, 0, -1):
        if metric[end] == "_" and metric[:end] in METRICS:
            known = METRICS[metric[:end]]
            return known._replace(title=f"{known.title} {metric[end + 1 :].replace('_', ' ')}")
    group = next((g for g in GROUPS[1:-1] if g in task), "other")
    errors = ("mse", "rmse", "mae")
    return Metric(group, metric.replace("_", " "), lower_is_better=metric.split("_")[0] in errors)
