"""A trained model applied to cells: what it says of each, and how well it does on cells that did not train it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut
from sclamp.models.base import GradientModel, Model
from sclamp.train.distributed import Processes
from sclamp.train.monitor import UNDEFINED, Monitor
from sclamp.train.standing import Standing
from sclamp.types import Progress

NEW = "new"
"""The split of cells that are not of the model's data set."""
SPLITS = {"validate": "val", "test": "test"}
"""Task -> the cells of the model's own data set that it speaks of."""


class Number(NamedTuple):
    """A number about the cells of a split, or the reason why there is none (value is NaN exactly then)."""

    name: str
    value: float
    reason: str = ""


def predict(model: Model, batches: Batches) -> pa.Table:
    """What the model says of every cell: cell_id, split (of cells of its own data set), then `Model.predict`.

    A result of one value per cell is a column, of several either one column each, RESULT:NAME where they have names, or
    a list. Classes are written by their names, null for none.
    """
    inputs = batches.inputs
    columns: dict[str, Any] = {"cell_id": pa.array(inputs.cell_ids, pa.string())}
    if (inputs.split != NEW).all():
        columns["split"] = pa.array(inputs.split, pa.string())
    names = model.prediction_columns()
    for result, values in _results(model, batches).items():
        columns |= _columns(result, values, names.get(result), model.data.labels)
    return pa.table(columns)


def _results(model: Model, batches: Batches) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for batch in batches.batches(None):
            for name, value in model.predict(batch).items():
                parts.setdefault(name, []).append((value.float() if value.is_floating_point() else value).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def _columns(result: str, values: np.ndarray, names: tuple[str, ...] | None, labels: tuple[str, ...]) -> dict[str, Any]:
    """Columns of one result (cells,) or (cells, k); integers are classes: positions in `names`, else in `labels`."""
    if values.dtype.kind in "iu":
        classes = np.array([*(names or labels), None], dtype=object)  # -1 is the last: none
        flat = pa.array(classes[values.ravel()], pa.string())
    else:
        if values.ndim == 2 and names is not None:
            return {f"{result}:{name}": pa.array(values[:, i]) for i, name in enumerate(names)}
        flat = pa.array(values.ravel())
    return {result: flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])}


def measure(model: Model, batches: Batches, split: str, seed: int) -> list[Number]:
    """Numbers about the cells of a split: mean loss and its parts, what `Monitor` sees, what the model adds.

    Deterministic: no noise, no dropout, schedules as at the end of training. seed: of what the model samples by itself.
    """
    rows = batches.inputs.rows(split)
    if not len(rows):
        return [Number("loss", float("nan"), f"there are no cells of split '{split}'")]
    numbers = _losses(model, batches, rows)
    monitor = Monitor.of_model(model, batches, rows)
    monitor.tell(lambda text: print(text, file=sys.stderr))
    numbers += [_number(name, value) for name, value in monitor.look_at(model).items()]
    numbers += [Number(name, float("nan"), why) for name, why in monitor.left_out.items()]
    with torch.no_grad():
        further = model.evaluate(batches.of(cut(rows, EVALUATION_ROWS)), seed)
    return numbers + [_number(name, value) for name, value in further.items()]


def _number(name: str, value: float) -> Number:
    why = UNDEFINED.get(name, f"not defined for these cells (the value is {value})")
    return Number(name, value, "" if np.isfinite(value) else why)


def _losses(model: Model, batches: Batches, rows: np.ndarray) -> list[Number]:
    """Mean loss and parts over some cells, as training validates; of new cells, over those whose label is known."""
    if not isinstance(model, GradientModel):
        mode = model.settings.mode
        return [Number("loss", float("nan"), f"mode '{mode}' is solved directly, without a loss for each cell")]
    if "labels" in model.wants():
        labels, train = batches.inputs.label, batches.inputs.rows("train")
        labelled = rows[labels[rows] >= 0]
        if not len(labelled):
            return [Number("loss", float("nan"), "no cell has a label that the model knows, and its loss needs them")]
        if len(train):  # how many cells are labelled is part of the loss
            model.see_labels(*(torch.from_numpy(labels[part]).to(batches.device) for part in (train, rows)))
        else:
            rows = labelled
    settings = model.settings
    steps = -(-model.data.n_cells // settings.batch_size) * settings.max_epochs
    progress = Progress(settings.max_epochs - 1, settings.max_epochs, validation=True, step=steps)
    sums = Standing()
    with torch.no_grad():
        for batch in batches.of(cut(rows, EVALUATION_ROWS)):
            sums.add(model.loss(batch, progress), len(batch))
    means = sums.means(Processes())
    return [_number(name, value) for name, value in means.items() if name not in model.schedules]


def numbers_table(split: str, numbers: Sequence[Number], n_cells: int) -> pa.Table:
    """One row per number: split, name, value (null where there is none), cells of the split, reason."""
    return pa.table(
        {
            "split": pa.array([split] * len(numbers), pa.string()),
            "name": pa.array([number.name for number in numbers], pa.string()),
            "value": pa.array([number.value for number in numbers], pa.float64(), from_pandas=True),
            "cells": pa.array([n_cells] * len(numbers), pa.int64()),
            "reason": pa.array([number.reason for number in numbers], pa.string()),
        }
    )
