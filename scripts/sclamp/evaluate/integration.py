"""All scores of one embedding, on all cells and on those that the model did not train on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from sclamp.config.evaluate import Evaluate
from sclamp.core.progress import doing
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.cells import CellSet, Extras, cell_set, problem_of
from sclamp.evaluate.expression import Expression
from sclamp.evaluate.measure import Measured, NotApplicable, Unscorable
from sclamp.evaluate.neighbors import Neighbors
from sclamp.evaluate.panel import cell_scores, measure_across_batches, measure_cells, measure_held_out_probes
from sclamp.evaluate.replicates import Key
from sclamp.evaluate.resample import replicate
from sclamp.evaluate.rows import Cells, Row
from sclamp.evaluate.unseen import measure_unseen_batches


class Evaluation(NamedTuple):
    """What is said of one embedding.

    rows: the scores. replicates: key -> (settings.bootstrap,) values over resampled cells, of the scores that have
    them. per_cell: name -> (n,) float32, NaN where a cell has no value.
    """

    rows: list[Row]
    replicates: dict[Key, np.ndarray]
    per_cell: dict[str, np.ndarray]


def score_embedding(
    embedding: np.ndarray,
    annotation: Annotation,
    neighbors: Neighbors,
    reference: np.ndarray | None,
    settings: Evaluate,
    expression: Expression | None = None,
) -> Evaluation:
    """Score an embedding (n, d); neighbors: among all n cells, in its rows. Never raises for what an embedding is like.

    Cells without batch or label are left out of everything, so that all scores speak of the same cells. Held-out cells
    are scored among themselves, with neighbours of their own. reference (n, r): an embedding without correction.
    expression: of the n cells, for the scores that ask for it.
    """
    complete, held_out = annotation.complete, annotation.complete & annotation.held_out

    def gather(cells: Cells, mask: np.ndarray) -> CellSet:
        if not mask.any():
            raise NotApplicable("there are no such cells with a known batch and label")
        if problem := problem_of(embedding[mask]):
            raise Unscorable(problem)
        labels = None if annotation.labels is None else annotation.labels[mask]
        before = None if reference is None else reference[mask]
        extras = Extras(
            annotation.batch_names,
            annotation.label_names,
            None if annotation.pseudotime is None else annotation.pseudotime[mask],
            None if expression is None else expression.of(mask),
            cells,
        )
        known = neighbors if mask.all() else None
        batches = annotation.batches[mask]
        return cell_set(embedding[mask], batches, labels, before, neighbors.k, settings, known, extras)

    all_cells, held_out_cells = cache(lambda: gather("all", complete)), cache(lambda: gather("held_out", held_out))
    train = ~annotation.held_out[complete]
    by_part: dict[tuple[Cells, str], list[Measured]] = {
        ("all", "integration"): measure_cells(all_cells),
        ("all", "probe"): _telling("probes across batches", measure_across_batches, all_cells),
        ("held_out", "integration"): measure_cells(held_out_cells),
        ("held_out", "probe"): _telling("probes of held-out cells", measure_held_out_probes, all_cells, train),
        ("held_out", "unseen_batch"): _telling("unseen batches", measure_unseen_batches, all_cells, train),
    }
    rows = [Row(cells, task, found.score) for (cells, task), part in by_part.items() for found in part]
    sizes: dict[Cells, int] = {"all": int(complete.sum()), "held_out": int(held_out.sum())}
    replicates: dict[Key, np.ndarray] = {}
    for cells, n_cells in sizes.items():
        statistics = {
            (cells, task, found.score.metric): found.statistic
            for (scope, task), part in by_part.items()
            for found in part
            if scope == cells and found.statistic is not None
        }
        replicates |= replicate(statistics, n_cells, settings.bootstrap, settings.seed, cells)
    return Evaluation(rows, replicates, cell_scores(all_cells, complete))


def _telling(what: str, measure: Callable[..., list[Measured]], *arguments: Any) -> list[Measured]:
    with doing(what):
        return measure(*arguments)
