"""All scores of one embedding, on all cells and on those that the model did not train on."""

from __future__ import annotations

from functools import cache

import numpy as np

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate.annotation import Annotation
from sclamp.evaluate.cells import CellSet, cell_set, problem_of
from sclamp.evaluate.measure import NotApplicable, Unscorable
from sclamp.evaluate.neighbors import Neighbors
from sclamp.evaluate.panel import score_across_batches, score_cells, score_held_out_probes
from sclamp.evaluate.rows import Cells, Row
from sclamp.types import Score


def score_embedding(
    embedding: np.ndarray,
    annotation: Annotation,
    neighbors: Neighbors,
    reference: np.ndarray | None,
    settings: Evaluate,
) -> list[Row]:
    """Score an embedding (n, d); neighbors: among all n cells, in its rows. Never raises for what an embedding is like.

    Cells without batch or label are left out of everything, so that all scores speak of the same cells. Held-out cells
    are scored among themselves, with neighbours of their own. reference (n, r): an embedding without correction.
    """
    complete, held_out = annotation.complete, annotation.complete & annotation.held_out

    def gather(mask: np.ndarray) -> CellSet:
        if not mask.any():
            raise NotApplicable("there are no such cells with a known batch and label")
        if problem := problem_of(embedding[mask]):
            raise Unscorable(problem)
        labels = None if annotation.labels is None else annotation.labels[mask]
        before = None if reference is None else reference[mask]
        known = neighbors if mask.all() else None
        return cell_set(embedding[mask], annotation.batches[mask], labels, before, neighbors.k, settings, known)

    all_cells, held_out_cells = cache(lambda: gather(complete)), cache(lambda: gather(held_out))
    by_part: dict[tuple[Cells, str], list[Score]] = {
        ("all", "integration"): score_cells(all_cells),
        ("all", "probe"): score_across_batches(all_cells),
        ("held_out", "integration"): score_cells(held_out_cells),
        ("held_out", "probe"): score_held_out_probes(all_cells, train=~annotation.held_out[complete]),
    }
    return [Row(cells, task, score) for (cells, task), scores in by_part.items() for score in scores]
