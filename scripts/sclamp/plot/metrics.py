"""How scores are shown: in which group, under which name, and which way is better."""

from __future__ import annotations

from typing import NamedTuple

GROUP_TITLES = {
    "aggregate": "Aggregate",
    "bio": "Biology kept",
    "batch": "Batches mixed",
    "probe": "Probes",
    "unseen": "Unseen batch",
    "classification": "Predicted labels",
    "reconstruction": "Reconstruction",
    "imputation": "Imputation",
    "genes": "Gene side",
    "left_out_genes": "Left-out genes",
    "other": "Other",
}
GROUPS = tuple(GROUP_TITLES)
GROUP_COLOURS = {
    "aggregate": "#37474F",
    "bio": "#0072B2",
    "batch": "#009E73",
    "probe": "#7A4FA3",
    "unseen": "#A8487E",
    "classification": "#5B7A1E",
    "reconstruction": "#B26A00",
    "imputation": "#8B5A2B",
    "genes": "#B0413E",
    "left_out_genes": "#1F7A8C",
    "other": "#5F6872",
}


class Metric(NamedTuple):
    """How a score is shown.

    group: one of GROUPS. title: heading of the column. meaning: one sentence. lower_is_better: as for an error.
    extra: True for a variant of another score, which tables show on demand and figures leave out. control: True for the
    score of something simpler, beside which others are read: nothing is best on it.
    """

    group: str
    title: str
    meaning: str = ""
    lower_is_better: bool = False
    extra: bool = False
    control: bool = False


_ISOLATED = "Cell types that few batches have"
_TEST = "of reconstruction and data on test cells"
_NEAR = "Genes by their nearness to a cell type, against its differential expression in held-out cells"
_GIVEN = "Genes by their nearness to a cell type, against the given markers"
_NESTED = "in the Cell Ontology"
_MISSED = "Genes never seen in training, predicted through their prior"

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
    "clisi_graph": Metric("bio", "cLISI graph", "The same with neighbours along the graph, as in scib.", extra=True),
    "cell_cycle": Metric("bio", "Cell cycle", "Variance explained by the cell cycle, kept within each batch."),
    "trajectory": Metric("bio", "Trajectory", "Order of the cells along the given pseudotime, kept."),
    "morans_i": Metric("bio", "Moran's I", "How smoothly variable genes change from a cell to its neighbours."),
    "scgraph": Metric("bio", "scGraph", "Distances between cell types, against those inside of the batches."),
    "hvg_overlap": Metric("bio", "HVG overlap", "Variable genes of each batch that are so in corrected expression."),
    "ilisi_knn": Metric("batch", "iLISI", "Mixture of batches among nearest neighbours."),
    "cilisi_knn": Metric("batch", "ciLISI", "Mixture of batches among nearest neighbours of one cell type."),
    "ilisi_graph": Metric("batch", "iLISI graph", "As iLISI with neighbours along the graph, as in scib.", extra=True),
    "bras": Metric("batch", "BRAS", "Batch silhouette against all other batches, within cell types."),
    "graph_connectivity_directed": Metric("batch", "Graph conn.", "Share of each cell type in one connected piece."),
    "graph_connectivity": Metric("batch", "Graph conn. scib", "The same on a symmetric graph; saturates.", extra=True),
    "pcr_comparison": Metric("batch", "PCR", "Variance explained by batch, compared with PCA."),
    "kbet": Metric("batch", "kBET", "Neighbourhoods with the expected shares of batches."),
    "silhouette_batch": Metric("batch", "Silh. batch", "Near 1 for almost any embedding.", extra=True),
    "label_accuracy": Metric("probe", "Label acc.", "Cell types of unseen cells, read off by a linear probe."),
    "label_macro_f1": Metric("probe", "Label F1", "The same, mean F1 over cell types.", extra=True),
    "lobo_label_accuracy": Metric("probe", "LOBO acc.", "Cell types of a batch that the linear probe has not seen."),
    "lobo_label_macro_f1": Metric("probe", "LOBO F1", "The same, mean F1 over cell types.", extra=True),
    "batch_accuracy": Metric("probe", "Batch acc.", "Batches, read off by a linear probe.", lower_is_better=True),
    "unseen_label_accuracy": Metric("unseen", "Label acc.", "Cell types of batches that the model was not trained on."),
    "unseen_label_macro_f1": Metric("unseen", "Label F1", "The same, mean F1 over cell types.", extra=True),
    "unseen_knn_accuracy": Metric("unseen", "kNN acc.", "The same, from the nearest cells of the training batches."),
    "unseen_mixing": Metric("unseen", "Mixing", "Mixture of batches not trained on with those trained on."),
    "accuracy": Metric("classification", "Accuracy", "Held-out cells with the right label."),
    "macro_f1": Metric("classification", "Macro F1", "The same, mean F1 over labels."),
    "auroc": Metric("classification", "AUROC", "How well probabilities part a label from the rest, mean over labels."),
    "hierarchical_f1": Metric("classification", "Hierarchical F1", f"F1 of labels and all their ancestors {_NESTED}."),
    "error_distance": Metric(
        "classification", "Error distance", f"Steps {_NESTED} from the true to a wrong label.", lower_is_better=True
    ),
    "calibration_error": Metric(
        "classification", "Calibration error", "How far probabilities are from being right so often.", True
    ),
    "top_accuracy": Metric(
        "classification", "Top-k accuracy", "Label among the likeliest that are listed.", extra=True
    ),
    "ancestor_accuracy": Metric(
        "classification", "Ancestor acc.", f"Cells that are of the broader type {_NESTED} that is reported.", extra=True
    ),
    "ancestor_distance": Metric(
        "classification", "Ancestor distance", "Steps from the label up to that type.", lower_is_better=True, extra=True
    ),
    "brier": Metric("classification", "Brier score", "Squared error of the probabilities.", True, extra=True),
    "log_loss": Metric("classification", "Log loss", "Surprise at the true label.", lower_is_better=True, extra=True),
    "unseen_label_share": Metric(
        "classification", "Unseen labels", "Cells of labels that no training cell has.", True, extra=True, control=True
    ),
    "pearson": Metric("reconstruction", "Pearson", f"Correlation {_TEST}."),
    "spearman": Metric("reconstruction", "Spearman", f"Rank correlation {_TEST}."),
    "mse": Metric("reconstruction", "MSE", f"Mean squared difference {_TEST}.", lower_is_better=True),
    "rmse": Metric(
        "reconstruction", "RMSE", f"Root mean squared difference {_TEST}.", lower_is_better=True, extra=True
    ),
    "mae": Metric("reconstruction", "MAE", f"Mean absolute difference {_TEST}.", lower_is_better=True, extra=True),
    "cosine": Metric("reconstruction", "Cosine", f"Cosine of the angle {_TEST}.", extra=True),
    "marker_auroc": Metric("genes", "Marker AUROC", f"{_NEAR}: area under the ROC curve."),
    "marker_precision": Metric("genes", "Marker prec.", f"{_NEAR}: share of true markers among the nearest."),
    "marker_spearman": Metric("genes", "Marker rank corr.", f"{_NEAR}: rank correlation.", extra=True),
    "given_marker_auroc": Metric("genes", "Given AUROC", f"{_GIVEN}: area under the ROC curve."),
    "given_marker_precision": Metric("genes", "Given prec.", f"{_GIVEN}: share of markers among the nearest."),
    "modules_enriched": Metric("genes", "Modules enriched", "Gene modules in which an annotation term is enriched."),
    "terms_enriched": Metric("genes", "Terms enriched", "Annotation terms enriched in some gene module.", extra=True),
    "module_davies_bouldin": Metric(
        "genes", "Davies-Bouldin", "Width of gene groups against the distances between them.", lower_is_better=True
    ),
    "coexpression_spearman": Metric("genes", "Co-expr. corr.", "Nearness of genes against their co-expression."),
    "coexpression_neighbors": Metric(
        "genes", "Co-expr. neighb.", "Nearest genes that are also the most co-expressed.", extra=True
    ),
}
LEFT_OUT: dict[str, Metric] = {
    "pearson_gene": Metric("left_out_genes", "Pearson", f"{_MISSED}: correlation over cells, mean over genes."),
    "pearson_gene_expressed": Metric(
        "left_out_genes", "Pearson expr.", f"{_MISSED}: the same for genes that many cells express.", extra=True
    ),
    "pearson_cell": Metric("left_out_genes", "Pearson cell", f"{_MISSED}: correlation over genes, mean over cells."),
    "mse": Metric("left_out_genes", "MSE", f"{_MISSED}: mean squared difference.", lower_is_better=True),
    "mse_of_mean": Metric(
        "left_out_genes",
        "MSE of mean",
        "The error of each gene's mean in the training cells: a control.",
        True,
        control=True,
    ),
    "ridge_pearson_gene": Metric(
        "left_out_genes", "Ridge Pearson", "The correlation by ridge regression on the prior alone.", control=True
    ),
}
"""Scores of the task left_out_genes, some of which have names of reconstruction's scores."""
_ENDINGS = {"_gene": "per gene", "_cell": "per cell"}
_SHUFFLED = "_shuffled"
_TASK_GROUPS = {"expression": "bio", "unseen_batch": "unseen"}


def describe(task: str, metric: str) -> Metric:
    """How a score of a task is shown; a name with a known ending is shown as its stem, with words for the ending.

    Tasks that share names of scores are told apart by their group: reconstruction, imputation, left_out_genes.
    """
    known = LEFT_OUT if task == "left_out_genes" else METRICS
    if metric in known:
        return _of_task(task, known[metric])
    if (stem := metric.removesuffix(_SHUFFLED)) != metric and stem in known:
        meaning = f"{known[stem].meaning.rstrip('.')}; with gene embeddings dealt to random genes (a control)."
        return known[stem]._replace(title=f"{known[stem].title} shuffled", meaning=meaning, extra=True, control=True)
    for ending, words in _ENDINGS.items():
        if (stem := metric.removesuffix(ending)) != metric and stem in known:
            meaning = f"{known[stem].meaning.rstrip('.')}, {words}."
            return _of_task(
                task, known[stem]._replace(title=f"{known[stem].title} {words}", meaning=meaning, extra=True)
            )
    group = task if task in GROUPS else _TASK_GROUPS.get(task, "other")
    return Metric(group, metric.replace("_", " "), lower_is_better=metric.split("_")[0] in {"mse", "rmse", "mae"})


def _of_task(task: str, shown: Metric) -> Metric:
    if task != "imputation" or shown.group != "reconstruction":
        return shown
    meaning = shown.meaning.rstrip(".") + ", entries masked before the model saw the cell."
    return shown._replace(group="imputation", meaning=meaning)
