"""The aggregate of scIB: biology and batches, each an unweighted mean, weighed 0.6 to 0.4."""

from __future__ import annotations

import numpy as np

from sclamp.evaluate.measure import NotApplicable, Unscorable, measure
from sclamp.types import Score

BIO = ("nmi_kmeans", "ari_kmeans", "silhouette_label", "isolated_labels_silhouette", "clisi_knn")
BATCH = ("bras", "ilisi_knn", "graph_connectivity_directed", "pcr_comparison")
"""What is averaged: the default set of scib-metrics' Benchmarker (0.5.10), its kBET left out."""
BIO_WEIGHT = 0.6


def aggregate(scores: list[Score]) -> list[Score]:
    """Scores "bio", "batch" and "total"; `implementation` lists what was averaged, and names what was absent.

    A score that is not applicable to the data is left out of the mean. A failed one makes the aggregate fail: a mean
    over what happens to work would flatter an embedding for being broken.
    """
    bio, batch = _class_mean("bio", BIO, scores), _class_mean("batch", BATCH, scores)

    def total() -> float:
        for part in (bio, batch):
            if part.status == "failed":
                raise Unscorable(part.reason)
            if part.status == "not_applicable":
                raise NotApplicable(f"{part.metric}: {part.reason}")
        return BIO_WEIGHT * bio.value + (1 - BIO_WEIGHT) * batch.value

    weights = f"{BIO_WEIGHT:g} x {bio.implementation} + {1 - BIO_WEIGHT:g} x {batch.implementation}"
    return [bio, batch, measure("total", weights, total)]


def _class_mean(name: str, members: tuple[str, ...], scores: list[Score]) -> Score:
    by_name = {score.metric: score for score in scores if score.metric in members}
    used = [m for m in members if m in by_name and by_name[m].status == "ok"]
    failed = [m for m in members if m in by_name and by_name[m].status == "failed"]
    absent = [m for m in members if m not in used and m not in failed]

    def mean() -> float:
        if not used:
            raise NotApplicable("none of its scores applies: " + "; ".join(by_name[m].reason for m in absent[:1]))
        return float(np.mean([by_name[m].value for m in used]))

    implementation = f"mean({', '.join(used + failed)})" + (f" without {', '.join(absent)}" if absent else "")
    if failed:
        reasons = "; ".join(dict.fromkeys(by_name[m].reason for m in failed))
        return Score(name, implementation, float("nan"), "failed", f"{', '.join(failed)}: {reasons}")
    return measure(name, implementation, mean)
