"""Scores between what is reached without knowing anything and what is reached by knowing the answer.

calibrated = (value - floor) / (ceiling - floor), floor and ceiling being seed-means of controls on the same cells.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sclamp.evaluate.controls import PREFIX

KEY = ["dataset", "cells", "task", "metric"]
"""What a score is compared within: the same score of the same cells."""
PERFECT = f"{PREFIX}label_onehot"
FLOORS = {"bio": f"{PREFIX}random", "batch": f"{PREFIX}batch_onehot"}
"""A random embedding mixes batches perfectly: the floor of batch scores is the embedding that separates them."""
LEAST_RANGE = 0.02
"""Controls that differ by less (or in the wrong direction) say that the score tells nothing: no calibrated value."""

GROUPS: dict[str, str | None] = {
    **dict.fromkeys(
        (
            "bio", "total", "nmi_kmeans", "ari_kmeans", "nmi_leiden", "ari_leiden", "nmi_leiden_best",
            "ari_leiden_best", "silhouette_label", "isolated_labels_f1", "isolated_labels_silhouette", "clisi_knn",
            "clisi_graph", "label_accuracy", "label_macro_f1", "lobo_label_accuracy", "lobo_label_macro_f1",
            "unseen_label_accuracy", "unseen_label_macro_f1", "unseen_knn_accuracy",
        ),
        "bio",
    ),
    **dict.fromkeys(
        (
            "batch", "ilisi_knn", "ilisi_graph", "cilisi_knn", "bras", "silhouette_batch", "graph_connectivity",
            "graph_connectivity_directed", "pcr_comparison", "kbet", "batch_accuracy", "unseen_mixing",
        ),
        "batch",
    ),
    # Not about labels or batches: an embedding that knows the labels is not perfect here.
    **dict.fromkeys(("cell_cycle", "trajectory", "morans_i", "scgraph", "hvg_overlap"), None),
}  # fmt: skip
"""Score -> which floor it has; None, or absent: it is not calibrated."""

LOWER_IS_BETTER = (
    "batch_accuracy", "module_davies_bouldin", "error_distance", "calibration_error", "ancestor_distance", "brier",
    "log_loss", "unseen_label_share",
)  # fmt: skip
_ERRORS = ("mse", "rmse", "mae")
_SHUFFLED = "_shuffled"


def direction(metric: str) -> int:
    """-1 for a score of which less is better, 1 otherwise."""
    metric = metric.removesuffix(_SHUFFLED)
    return -1 if metric in LOWER_IS_BETTER or metric.split("_")[0] in _ERRORS else 1


def bounds(scores: pd.DataFrame) -> pd.DataFrame:
    """Floor and ceiling of each score: columns of KEY, floor, ceiling; NaN where a control is missing.

    Both are NaN, too, where the ceiling is not better than the floor by LEAST_RANGE.
    """
    ok = scores[scores["status"] == "ok"]
    means = ok.groupby([*KEY, "model"], observed=True, sort=False)["value"].mean().unstack("model")
    table = means.index.to_frame(index=False)
    groups = table["metric"].map(GROUPS)
    low = np.full(len(table), np.nan)
    for group, control in FLOORS.items():
        if control in means:
            low = np.where(groups == group, means[control], low)
    high = means[PERFECT].to_numpy() if PERFECT in means else np.full(len(table), np.nan)
    sign = table["metric"].map(direction).to_numpy()
    usable = sign * (high - low) >= LEAST_RANGE
    return table.assign(floor=np.where(usable, low, np.nan), ceiling=np.where(usable, high, np.nan))


def calibrated(table: pd.DataFrame, limits: pd.DataFrame, column: str) -> np.ndarray:
    """A column of a table that has the columns KEY, calibrated by `bounds`; NaN where there are none."""
    near = table[KEY].merge(limits, on=KEY, how="left")
    floor, ceiling = near["floor"].to_numpy(float), near["ceiling"].to_numpy(float)
    return (table[column].to_numpy(float) - floor) / (ceiling - floor)
