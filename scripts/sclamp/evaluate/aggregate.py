"""The aggregate of scIB: biology and batches, each an unweighted mean, weighed 0.6 to 0.4."""

from __future__ import annotations

import numpy as np

from sclamp.evaluate.measure import Measured, NotApplicable, Unscorable, measure_statistic
from sclamp.evaluate.statistic import Statistic
from sclamp.types import Score

BIO = ("nmi_kmeans", "ari_kmeans", "silhouette_label", "isolated_labels_silhouette", "clisi_knn")
BATCH = ("bras", "ilisi_knn", "graph_connectivity_directed", "pcr_comparison")
"""What is averaged: the default set of scib-metrics' Benchmarker (0.5.10), its kBET left out."""
BIO_WEIGHT = 0.6


def aggregate(scores: list[Measured]) -> list[Measured]:
    """Scores "bio", "batch" and "total"; `implementation` lists what was averaged, and names what was absent.

    A score that is not applicable to the data is left out of the mean. A failed one makes the aggregate fail: a mean
    over what happens to work would flatter an embedding for being broken. Resamples average the same members.
    """
    bio, batch = _class_mean("bio", BIO, scores), _class_mean("batch", BATCH, scores)

    def total() -> Statistic:
        for part in (bio.score, batch.score):
            if part.status == "failed":
                raise Unscorable(part.reason)
            if part.status == "not_applicable":
                raise NotApplicable(f"{part.metric}: {part.reason}")
        return _weighted_sum([bio, batch], [BIO_WEIGHT, 1 - BIO_WEIGHT])

    weights = f"{BIO_WEIGHT:g} x {bio.score.implementation} + {1 - BIO_WEIGHT:g} x {batch.score.implementation}"
    return [bio, batch, measure_statistic("total", weights, total)]


def _class_mean(name: str, members: tuple[str, ...], scores: list[Measured]) -> Measured:
    by_name = {measured.score.metric: measured for measured in scores if measured.score.metric in members}
    used = [m for m in members if m in by_name and by_name[m].score.status == "ok"]
    failed = [m for m in members if m in by_name and by_name[m].score.status == "failed"]
    absent = [m for m in members if m not in used and m not in failed]

    def mean() -> Statistic:
        if not used:
            reasons = "; ".join(by_name[m].score.reason for m in absent[:1])
            raise NotApplicable(f"none of its scores applies: {reasons}")
        return _weighted_sum([by_name[m] for m in used], [1 / len(used)] * len(used))

    implementation = f"mean({', '.join(used + failed)})" + (f" without {', '.join(absent)}" if absent else "")
    if failed:
        reasons = "; ".join(dict.fromkeys(by_name[m].score.reason for m in failed))
        score = Score(name, implementation, float("nan"), "failed", f"{', '.join(failed)}: {reasons}")
        return Measured(score, None)
    return measure_statistic(name, implementation, mean)


def _weighted_sum(parts: list[Measured], shares: list[float]) -> Statistic:
    statistics = [part.statistic for part in parts if part.statistic is not None]

    def value(weights: np.ndarray) -> float:
        return float(sum(share * s.of(weights) for share, s in zip(shares, statistics, strict=True)))

    return Statistic(value, statistics[0].n_cells, all(s.resamples for s in statistics))
