"""What the Methods paragraph says about scores, controls and statistics: only what was computed."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.report.benefit import CONTROLS
from sclamp.report.plan import Plan
from sclamp.report.references import Citations
from sclamp.report.words import joined

Computed = set[tuple[str, str]]
"""Scores that have a value: (task, metric)."""


class Statistics(NamedTuple):
    """Whether scores got intervals, and models paired comparisons."""

    intervals: bool = False
    comparisons: bool = False


def scores(plan: Plan, computed: Computed, cite: Citations) -> str:
    """How cell embeddings were scored."""
    metrics = {metric for task, metric in computed if task in {"integration", "probe", "unseen_batch"}}
    if not metrics:
        return ""

    def any_of(*stems: str) -> bool:
        return any(metric.startswith(stem) for metric in metrics for stem in stems)

    words = [f"Embeddings were scored as in scIB {cite('scib')}, on all cells and on cells that were not trained on"]
    stems = " ".join(metrics)
    ways = ["k-means"] if "kmeans" in stems else []
    ways += [f"the Leiden algorithm {cite('leiden', 'igraph')}"] if "leiden" in stems else []
    if ways:
        words.append(f"clusters were found by {joined(ways)}")
    if "lisi" in stems:
        words.append(f"LISI {cite('harmony')} was computed on exact nearest neighbours {cite('faiss')}")
    if any_of("cilisi"):
        words.append(f"ciLISI is LISI of batches within cell types {cite('cilisi')}")
    if any_of("bras"):
        words.append(f"batch silhouettes include BRAS {cite('bras')}")
    if any_of("kbet"):
        words.append(f"kBET {cite('kbet')} was computed within cell types on diffusion maps, as in scib-metrics")
    if any_of("cell_cycle"):
        words.append(f"cell-cycle scores are those of marker genes of the S and G2/M phases {cite('cell_cycle')}")
    if any_of("trajectory"):
        words.append(f"trajectories are diffusion pseudotimes {cite('dpt')} compared with the given pseudotime")
    if any_of("morans_i"):
        words.append(f"Moran's I {cite('moran')} was computed on the graph of nearest neighbours")
    if any_of("scgraph"):
        words.append(f"distances between cell types were compared by scGraph {cite('scgraph')}")
    if any_of("label_", "lobo_", "batch_accuracy"):
        words.append("linear probes were fitted to read cell types and batches off the embeddings")
    if ("expression", "hvg_overlap") in computed:
        words.append("variable genes of each batch were compared with those of corrected expression")
    if any_of("unseen_"):
        words.append("batches that no model was trained on were scored by themselves")
    return "; ".join(words) + f". Layouts in two dimensions are UMAPs {cite('umap')}."


def genes(plan: Plan, computed: Computed, cite: Citations) -> str:
    """How reconstruction and gene embeddings were scored."""
    metrics = {metric for task, metric in computed if task == "genes"}
    tasks = {task for task, _ in computed}
    words = []
    if "reconstruction" in tasks:
        words.append("Reconstructed expression was compared with the data of test cells.")
    if "imputation" in tasks and (share := plan.evaluate.get("masked_share")):
        words.append(f"For imputation {share:.0%} of the entries were masked before the model saw a cell.")
    if any("marker" in metric for metric in metrics):
        words.append("Genes near a cell type in the latent space were compared with its markers in held-out cells.")
    if "modules_enriched" in metrics:
        words.append(
            f"Gene modules are Leiden clusters {cite('leiden')} of nearest genes; annotation terms were tested in them "
            f"by the hypergeometric test, at a false discovery rate of 5% {cite('fdr')}."
        )
    if "module_davies_bouldin" in metrics:
        words.append(f"Annotated groups of genes were compared by the Davies-Bouldin index {cite('davies_bouldin')}.")
    if any(metric.startswith("coexpression") for metric in metrics):
        words.append("Nearness of genes was compared with their co-expression in held-out cells.")
    if "left_out_genes" in tasks and (share := plan.evaluate.get("left_out_genes")):
        words.append(
            f"In a second training {share:.0%} of the genes were left out and predicted through their priors alone, "
            "beside a ridge regression on the same priors."
        )
    return " ".join(words)


def labels(computed: Computed, cite: Citations) -> str:
    """How predicted labels were scored."""
    metrics = {metric for task, metric in computed if task == "classification"}
    if not metrics:
        return ""
    words = ["Predicted labels were compared with those of cells that were not trained on"]
    if "hierarchical_f1" in metrics:
        words.append(
            f"hierarchical F1 {cite('hierarchical_f1')} compares each label with all its ancestors in the Cell Ontology"
        )
    if "calibration_error" in metrics:
        words.append(f"the expected calibration error {cite('calibration')} bins the largest probability of each cell")
    return "; ".join(words) + "."


def controls(plan: Plan, cite: Citations, tested: Statistics) -> str:
    """Controls, calibration, intervals and tests."""
    words = []
    if plan.controls:
        names = joined(name.removeprefix("control_").replace("_", " ") for name in plan.controls)
        words.append(f"Control embeddings ({names}) were scored like every model.")
    if plan.prior_controls:
        models = joined(dict.fromkeys(control.of for control in plan.prior_controls))
        kinds = joined(CONTROLS.get(c, c) for c in dict.fromkeys(control.control for control in plan.prior_controls))
        words.append(f"To measure what gene priors add, these were also replaced by controls ({kinds}) in {models}.")
    if tested.intervals:
        words.append(
            "Calibrated scores are 0 for a control that knows nothing (a random embedding; for scores of batch mixing "
            "the one-hot batches) and 1 for one-hot cell types."
        )
        count = plan.evaluate.get("bootstrap")
        cells = f"of the cells ({count} bootstrap resamples, {cite('bootstrap')[1:-1]})" if count else "of the cells"
        noise = f"of the seeds and {cells}" if len(plan.seeds) > 1 else cells
        words.append(f"Intervals are 95% and hold the noise {noise}; what was fitted was not fitted anew.")
    if tested.comparisons:
        words.append(
            f"Models were compared in pairs by t tests of their differences on the same seeds and resampled cells, "
            f"corrected for several comparisons within each score {cite('holm')}."
        )
    return " ".join(words)
