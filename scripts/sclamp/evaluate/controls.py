"""Embeddings whose quality is known in advance."""

from __future__ import annotations

import numpy as np

from sclamp.core.errors import UserError, unknown

PERMUTED = ("shuffled", "shuffled_within_batch", "shuffled_within_label")
"""Controls that deal out the rows of another embedding: to any cell, to cells of the same batch, of the same label."""
CONTROLS = ("random", *PERMUTED, "label_onehot", "batch_onehot")
NEED_LABELS = ("label_onehot", "shuffled_within_label")
PREFIX = "control_"
"""Start of the names of control runs."""
CEILINGS = (f"{PREFIX}label_onehot", f"{PREFIX}shuffled_within_label")
"""Controls that keep the labels; to stay below them is no fault."""
OF_PRIOR = ".prior="
"""Part of the names of runs that are a model with a control in place of its gene priors."""
RANDOM_WIDTH = 50
JITTER = 0.05
"""Standard deviation of the noise on one-hot codes: without it all neighbours of a cell would be at distance 0."""


def control_embedding(
    control: str, batches: np.ndarray, labels: np.ndarray | None, seed: int, of: np.ndarray | None = None
) -> np.ndarray:
    """Make an (n, d) float32 embedding that knows nothing (random), only the labels, or only the batches.

    The shuffled ones hold the rows of `of` (n, d) in another order, so that their distances are those of a real
    embedding; within labels, all that is known of the labels stays and batches are mixed. batches, labels (n,): codes,
    -1 where missing: in one-hot codes the zero vector plus noise, in permutations a group of their own. Errors: an
    unknown control, one that needs labels without them, a shuffled one without `of`.
    """
    if control not in CONTROLS:
        raise UserError(unknown("--control", control, CONTROLS))
    if control in NEED_LABELS:
        _demand_labels(control, labels)
    rng = np.random.default_rng(seed)
    if control == "random":
        return rng.standard_normal((len(batches), RANDOM_WIDTH), dtype=np.float32)
    if control in PERMUTED:
        if of is None:
            raise UserError(f"control '{control}' needs --of: the cell_embedding.parquet whose rows it deals out anew.")
        groups = {"shuffled_within_batch": batches, "shuffled_within_label": labels}.get(control)
        return of[permutation_within(np.zeros(len(of), np.int64) if groups is None else groups, rng)]
    codes = labels if control == "label_onehot" and labels is not None else batches
    onehot = np.zeros((len(codes), int(codes.max(initial=0)) + 1), np.float32)
    known = codes >= 0
    onehot[known, codes[known]] = 1
    return onehot + JITTER * rng.standard_normal(onehot.shape, dtype=np.float32)


def permutation_within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of n cells a cell of the same group (n,), each once; all such permutations are equally probable."""
    shuffled = rng.permutation(len(groups))
    result = np.empty(len(groups), np.int64)
    result[np.argsort(groups, kind="stable")] = shuffled[np.argsort(groups[shuffled], kind="stable")]
    return result


def _demand_labels(control: str, labels: np.ndarray | None) -> None:
    if labels is None:
        raise UserError(
            f"control '{control}' needs labels: the data set has no obs column 'label' (dataset key "
            f"`label`). Name one, or take {control} out of evaluate.controls."
        )
