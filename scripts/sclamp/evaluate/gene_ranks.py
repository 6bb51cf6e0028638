"""What is made of ranks: correlation, and the probability that one kind ranks above the other."""

from __future__ import annotations

import numpy as np

from sclamp.core.ranks import average_ranks


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation of two vectors; NaN where one of them is constant."""
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores higher than another, ties counted half; NaN without either kind.

    scores (n,), positive (n,) bool. Mann-Whitney's U over the number of pairs.
    """
    n, of = int(positive.sum()), len(positive)
    if n in (0, of):
        return float("nan")
    return float((average_ranks(scores)[positive].sum() - n * (n + 1) / 2) / (n * (of - n)))
