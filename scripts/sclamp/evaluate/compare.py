"""Paired comparisons of models: the same seeds, the same resampled cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from sclamp.evaluate.blocks import Block
from sclamp.evaluate.calibrate import direction
from sclamp.evaluate.controls import OF_PRIOR, PREFIX
from sclamp.evaluate.noise import Estimate, estimate

ALPHA = 0.05
FEWEST_SEEDS = 2
"""With one seed the noise of training is unknown: whatever p the cells give, no model is called better."""
COLUMNS = (
    "dataset", "cells", "task", "metric", "kind", "model", "other", "seeds", "seeds_dropped", "difference", "low",
    "high", "p", "p_adjusted", "better",
)  # fmt: skip

Pair = tuple[str, str]


def model_pairs(block: Block) -> list[Pair]:
    """Every pair of models; neither controls nor models with a control in place of their gene priors."""
    return list(combinations([m for m in block.models if not is_control(m)], 2))


def is_control(model: str) -> bool:
    """True for embeddings known in advance and for models that run with a control of their gene priors."""
    return model.startswith(PREFIX) or OF_PRIOR in model


def compare(block: Block, pairs: Sequence[Pair], kind: Literal["models", "prior"]) -> pd.DataFrame:
    """One row per score and pair for which both models have a value with the same seed; columns COLUMNS.

    difference: mean over the common seeds of model - other. seeds_dropped: seeds of the data set that are not common.
    p: two-sided t test of the paired differences, with the noise of both seeds and cells. p_adjusted: by Holm, over the
    pairs of one score. better: "model" or "other" when p_adjusted < 5%, else "neither". A pair with one common seed
    has a p from the noise of the cells only, and no "better"; one without any noise known gets no p.
    """
    pairs = [pair for pair in pairs if set(pair) <= set(block.models)]
    if not pairs:
        return pd.DataFrame({name: pd.Series(dtype=kind_of) for name, kind_of in _DTYPES.items()})
    found = _differences(block, pairs)
    p = found.p_values()
    adjusted = holm(p)
    low, high = found.interval()
    sign = block.groups["metric"].map(direction).to_numpy()[:, None]
    known = (adjusted < ALPHA) & (found.seeds >= FEWEST_SEEDS)
    gain = np.where(known, sign * np.sign(found.mean), 0).astype(int)
    score, pair = np.nonzero(found.seeds)
    at = score, pair
    names = np.array(pairs, dtype=object)
    return pd.DataFrame(
        {
            **block.key(score),
            "kind": kind,
            "model": names[pair, 0],
            "other": names[pair, 1],
            "seeds": found.seeds[at],
            "seeds_dropped": len(block.seeds) - found.seeds[at],
            "difference": found.mean[at],
            "low": low[at],
            "high": high[at],
            "p": p[at],
            "p_adjusted": adjusted[at],
            "better": np.array(["neither", "model", "other"], dtype=object)[gain[at]],
        }
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values (n, m) for several tests within each row; NaN are no tests (Holm 1979, Scand J Stat 6:65)."""
    tests = (~np.isnan(p)).sum(axis=1, keepdims=True)
    order = np.argsort(p, axis=1, kind="stable")  # NaN last
    steps = np.take_along_axis(p, order, 1) * (tests - np.arange(p.shape[1]))
    raised = np.minimum(np.maximum.accumulate(steps, axis=1), 1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, raised, axis=1)
    return np.where(np.isnan(p), np.nan, adjusted)


_DTYPES = {
    **dict.fromkeys(COLUMNS, "object"),
    **dict.fromkeys(("seeds", "seeds_dropped"), "int64"),
    **dict.fromkeys(("difference", "low", "high", "p", "p_adjusted"), "float64"),
}


def _differences(block: Block, pairs: Sequence[Pair]) -> Estimate:
    """Estimates of model - other on axes (score, pair)."""
    place = {name: i for i, name in enumerate(block.models)}
    found = []
    for model, other in pairs:  # one at a time: all resamples of all pairs need not be held at once
        a, b = place[model], place[other]
        values = block.values[:, a] - block.values[:, b]
        found.append(estimate(values, block.deviations[:, a] - block.deviations[:, b]))
    return Estimate(*(np.stack(parts, axis=1) for parts in zip(*found, strict=True)))
