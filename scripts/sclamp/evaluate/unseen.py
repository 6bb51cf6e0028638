"""Batches that the model never saw: whether their cells are placed where their labels belong, among other batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from sclamp.evaluate import partitions, probe
from sclamp.evaluate.cells import CellSet
from sclamp.evaluate.measure import Measured, NotApplicable, measure_statistic
from sclamp.evaluate.queries import nearest_among
from sclamp.evaluate.statistic import Statistic, mean_of, on_rows

TRANSFER = 15
"""Neighbours that vote on a label."""


class Unseen(NamedTuple):
    """Cells of batches without training cells, as rows of all cells and as rows of the held-out cells."""

    rows: np.ndarray
    of_held_out: np.ndarray
    n_held_out: int


def find_unseen(batches: np.ndarray, train: np.ndarray) -> Unseen:
    """Look for batches (n,) codes without a cell of the mask `train`; not applicable where there are none."""
    if not train.any():
        raise NotApplicable("no cell trained the model")
    held_out = np.flatnonzero(~train)
    if not len(held_out):
        raise NotApplicable("there are no cells to score")
    of_held_out = np.flatnonzero(~np.isin(batches[held_out], batches[train]))
    if not len(of_held_out):
        raise NotApplicable("every batch has cells that trained the model: the split holds no batch out")
    return Unseen(held_out[of_held_out], of_held_out, len(held_out))


def vote(votes: np.ndarray) -> np.ndarray:
    """The most frequent code of each row (m, k), nearest first; among equally frequent ones, that of nearer cells."""
    n_cells, k = votes.shape
    # The extras sum to less than half a vote, and each to more than all that follow: they only part ties.
    ballots = np.broadcast_to(1 + 0.5 ** np.arange(2, k + 2), votes.shape)
    width = int(votes.max()) + 1
    flat = np.arange(n_cells)[:, None] * width + votes
    return np.bincount(flat.ravel(), ballots.ravel(), n_cells * width).reshape(n_cells, width).argmax(axis=1)


def measure_unseen_batches(cells: Callable[[], CellSet], train: np.ndarray) -> list[Measured]:
    """Scores of the cells of unseen batches, with the cells of the mask `train` as what is known.

    The statistics are of the held-out cells.
    """

    @cache
    def unseen() -> Unseen:
        return find_unseen(cells().several_batches, train)

    def placed(statistic: Statistic) -> Statistic:
        return on_rows(statistic, unseen().of_held_out, unseen().n_held_out)

    @cache
    def predicted() -> tuple[np.ndarray, np.ndarray]:
        c, scored = cells(), np.zeros(len(train), bool)
        scored[unseen().rows] = True
        return probe.held_out_prediction(c.embedding, c.several_labels, train, scored)

    def transferred() -> Statistic:
        c, rows = cells(), unseen().rows
        labels, k = c.several_labels, min(TRANSFER, int(train.sum()))
        near = nearest_among(c.embedding[train], c.embedding[rows], k)
        return probe.accuracy(labels[rows], vote(labels[train][near]))

    how = f"{probe.METHOD}; trained on the model's training cells, scored on cells of batches that none of them is of"
    transfer = f"majority of the {TRANSFER} nearest training cells; scored on cells of unseen batches"
    mixing = "share of neighbours of seen batches over that of all other cells; mean over cells of unseen batches"
    return [
        measure_statistic("unseen_label_accuracy", how, lambda: placed(probe.accuracy(*predicted()))),
        measure_statistic("unseen_label_macro_f1", how, lambda: placed(partitions.macro_f1(*predicted()))),
        measure_statistic("unseen_knn_accuracy", transfer, lambda: placed(transferred())),
        measure_statistic("unseen_mixing", mixing, lambda: placed(_mixing(cells(), unseen()))),
    ]


def _mixing(cells: CellSet, unseen: Unseen) -> Statistic:
    seen = ~np.isin(cells.batches, cells.batches[unseen.rows])
    near = cells.nearest(1).indices[unseen.rows]
    return mean_of(seen[near].mean(axis=1) / (seen.sum() / (len(cells) - 1)))
