"""Embeddings whose quality is known in advance."""

from __future__ import annotations

import numpy as np

from sclamp.core.errors import UserError, unknown

CONTROLS = ("random", "label_onehot", "batch_onehot")
RANDOM_WIDTH = 50
JITTER = 0.05
"""Standard deviation of the noise on one-hot codes: without it all neighbours of a cell would be at distance 0."""


def control_embedding(control: str, batches: np.ndarray, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """Make an (n, d) float32 embedding that knows nothing (random), only the labels, or only the batches.

    batches, labels (n,): codes, -1 where missing; a missing one is the zero vector plus noise. Errors: an unknown
    control, label_onehot without labels.
    """
    if control not in CONTROLS:
        raise UserError(unknown("--control", control, CONTROLS))
    rng = np.random.default_rng(seed)
    if control == "random":
        return rng.standard_normal((len(batches), RANDOM_WIDTH), dtype=np.float32)
    codes = labels if control == "label_onehot" else batches
    if codes is None:
        raise UserError(
            "control 'label_onehot' needs labels: the data set has no obs column 'label' (dataset key "
            "`label`). Name one, or take label_onehot out of evaluate.controls."
        )
    onehot = np.zeros((len(codes), int(codes.max(initial=0)) + 1), np.float32)
    known = codes >= 0
    onehot[known, codes[known]] = 1
    return onehot + JITTER * rng.standard_normal(onehot.shape, dtype=np.float32)
