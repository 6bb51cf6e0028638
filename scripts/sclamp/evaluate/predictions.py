"""What is needed to score predicted labels: the predictions of a run, and the labels that the cells have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.data.h5ad import opened, read_frame
from sclamp.evaluate.lineage import Lineage
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.read import HELD_OUT, check_same_cells

LABEL, PROBABILITY, TOP, ANCESTOR = "label", "probability:", "top_label", "ancestor"
"""Columns of predictions.parquet: the predicted label; PROBABILITY + NAME for each label that the model knows; the
likeliest labels; the most specific term of the Cell Ontology that a cell is of with enough confidence."""


class Predictions(NamedTuple):
    """Labels of the n cells of predictions.parquet.

    labels (n,): None for none; None as a whole for a model that predicts no labels. names (c,), probabilities (n, c)
    float64: of the labels that the model knows; no columns where it gives none. top (n, k): the likeliest labels.
    ancestors (n,): terms, None for none. Both None where the model has none.
    """

    ids: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    probabilities: np.ndarray
    top: np.ndarray | None = None
    ancestors: np.ndarray | None = None


class Truth(NamedTuple):
    """What is known of the n cells. labels (n,): None where missing; None as a whole without a label column.

    split (n,). complete (n,): whether batch and label are known, as for all other scores.
    """

    ids: np.ndarray
    labels: np.ndarray | None
    split: np.ndarray
    complete: np.ndarray


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions.parquet of apply_model.py."""
    table = read_table(path)
    if "cell_id" not in table.column_names:
        raise UserError(f"{path}: " + unknown("column", "cell_id", table.column_names))
    columns = [name for name in table.column_names if name.startswith(PROBABILITY)]
    values = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in columns]

    def optional(name: str) -> np.ndarray | None:
        return np.array(table[name].to_pylist(), dtype=object) if name in table.column_names else None

    return Predictions(
        ids=np.asarray(table["cell_id"].to_pylist(), dtype=object),
        labels=optional(LABEL),
        names=tuple(name.removeprefix(PROBABILITY) for name in columns),
        probabilities=np.stack(values, axis=1) if values else np.zeros((table.num_rows, 0)),
        top=optional(TOP),
        ancestors=optional(ANCESTOR),
    )


def read_truth(path: str | Path) -> Truth:
    """Read labels and split of the cells of a counts file."""
    with opened(path) as file:
        obs = read_frame(file, "obs")
    missing = [name for name in ("batch", "split") if name not in obs]
    if missing:
        raise UserError(*(f"{path}: " + unknown("obs column", name, obs.columns) for name in missing))
    complete, labels = obs["batch"].notna().to_numpy(), None
    if "label" in obs:
        known = obs["label"].notna()
        labels = obs["label"].astype(object).where(known, None).to_numpy()
        complete = complete & known.to_numpy()
    return Truth(obs.index.to_numpy(dtype=object), labels, obs["split"].to_numpy(dtype=object), complete)


@dataclass(frozen=True)
class Scored:
    """The cells that are scored: held out, with a known label.

    names: all labels that occur, true or predicted. truth, predicted (n,): codes in `names`; predicted -1 for none.
    probabilities (n, len(names)): 0 for a label that the model does not know. known, taught (len(names),): labels that
    the model gives a probability; labels of its training cells. rows: of the n cells among all `n_held_out` cells of
    the validation and test splits. top (n, k): labels, ancestors (n,): terms; see `Predictions`. terms: label -> term
    of the Cell Ontology, where its name is not enough.
    """

    names: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    known: np.ndarray
    taught: np.ndarray
    rows: np.ndarray
    n_held_out: int
    split: str
    top: np.ndarray | None = None
    ancestors: np.ndarray | None = None
    terms: Mapping[str, str | None] = field(default_factory=dict)

    @cached_property
    def lineage(self) -> Lineage:
        """Where the labels are in the Cell Ontology."""
        return Lineage(self.names, self.terms)


def cells_to_score(predictions: Predictions, truth: Truth, terms: Mapping[str, str | None] | None = None) -> Scored:
    """The test cells, or where there are none the validation cells, with a known label.

    Raises `NotApplicable` where there is nothing to score.
    """
    if predictions.labels is None:
        raise NotApplicable("the model predicts no labels")
    if truth.labels is None:
        raise NotApplicable("the data set has no label column")
    held_out = truth.complete & np.isin(truth.split, HELD_OUT)
    split = "test" if (truth.split == "test").any() else "val"
    used = held_out & (truth.split == split)
    if not used.any():
        raise NotApplicable("there are no held-out cells with a known label")
    predicted = predictions.labels[used]
    names = _numbered(truth.labels[used], predicted, predictions.names)
    code = {name: i for i, name in enumerate(names)}
    probabilities = np.zeros((int(used.sum()), len(names)))
    at = [code[name] for name in predictions.names]
    probabilities[:, at] = predictions.probabilities[used]
    return Scored(
        names=names,
        truth=np.array([code[label] for label in truth.labels[used]], dtype=np.int64),
        predicted=np.array([-1 if label is None else code[label] for label in predicted], dtype=np.int64),
        probabilities=probabilities,
        known=np.isin(np.arange(len(names)), at),
        taught=np.isin(np.array(names, dtype=object), _training_labels(truth)),
        rows=np.flatnonzero(used[held_out]),
        n_held_out=int(held_out.sum()),
        split=split,
        top=None if predictions.top is None else predictions.top[used],
        ancestors=None if predictions.ancestors is None else predictions.ancestors[used],
        terms=terms or {},
    )


def read_scored(
    predictions: str | Path, cells: str | Path, terms: Mapping[str, str | None] | None = None
) -> Scored | NotApplicable:
    """Read both files; where there is nothing to score, why."""
    predicted, truth = read_predictions(predictions), read_truth(cells)
    check_same_cells(predicted.ids, predictions, truth.ids, cells)
    try:
        return cells_to_score(predicted, truth, terms)
    except NotApplicable as finding:
        return finding


def _numbered(*groups: Sequence[str | None] | np.ndarray) -> tuple[str, ...]:
    """All names of all groups, sorted without regard to case."""
    names = {str(name) for group in groups for name in group if name is not None}
    return tuple(sorted(names, key=lambda name: (name.lower(), name)))


def _training_labels(truth: Truth) -> np.ndarray:
    assert truth.labels is not None, "there are labels"
    own = truth.labels[truth.split == "train"]
    return np.array(sorted({label for label in own if label is not None}), dtype=object)
