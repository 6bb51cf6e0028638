"""Bootstrap over cells: which cells are drawn, and what the scores of the drawn cells are.

Resample b of a set of cells draws the same cells for every embedding, so that replicates of two models can be paired.
What was fitted stays as it is; only the cells that are averaged over are drawn anew.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np

from sclamp.core.progress import progress
from sclamp.evaluate.statistic import Statistic

SCOPES = ("all", "held_out")
Key = TypeVar("Key")


def resamples(n_cells: int, count: int, seed: int, cells: str) -> Iterator[np.ndarray]:
    """How often each of n cells is drawn, (n,) float64 summing to n, `count` times over.

    cells: "all" or "held_out". One draw is in memory at a time.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, SCOPES.index(cells), number])
        yield np.bincount(rng.integers(n_cells, size=n_cells), minlength=n_cells).astype(np.float64)


def replicate(
    statistics: Mapping[Key, Statistic], n_cells: int, count: int, seed: int, cells: str
) -> dict[Key, np.ndarray]:
    """Replicates (count,) of each statistic that has a weighted form.

    One that fails for some draw has none, and its error is shown on stderr.
    """
    able = {name: statistic for name, statistic in statistics.items() if statistic.resamples}
    found = {name: np.empty(count) for name in able}
    if not able:
        return found
    drawn = progress(resamples(n_cells, count, seed, cells), count, f"scores of resampled cells ({cells})", "draws")
    for number, weights in enumerate(drawn):
        for name in list(found):
            try:
                found[name][number] = able[name].of(weights)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                del found[name]
    return found
