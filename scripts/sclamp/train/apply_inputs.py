"""The cells that a trained model is applied to: those of its own data set, or new ones from any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sclamp.config.datasets import Dataset
from sclamp.config.parse import parsed
from sclamp.core.errors import UserError, unknown
from sclamp.data.batches import Batches
from sclamp.data.inputs import Inputs, read_cell_embedding
from sclamp.data.sources import Source, open_source
from sclamp.train import embed
from sclamp.train.checkpoint import Loaded, load_model
from sclamp.train.new_data import read_new_cells


@dataclass(frozen=True)
class Asked:
    """Which cells, and for which model.

    model: the file it is in. One of counts (the file that it was trained on) and data (new cells) is given. settings,
    min_genes_share: of the new cells. labels: they must have some. embedding: table with the embedding that the model
    reads, if it reads one; embedding_model: or the model that makes it.
    """

    model: Path
    counts: Path | None = None
    data: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    min_genes_share: float = 0.5
    labels: bool = False
    embedding: Path | None = None
    embedding_model: Path | None = None


class Cells(NamedTuple):
    """Cells as inputs of a model, the files that they come from, and the settings that they were read with."""

    inputs: Inputs
    files: list[Path]
    settings: dict[str, Any]


def cells_of(asked: Asked, loaded: Loaded, device: torch.device) -> Cells:
    """The cells as `loaded` reads them, with the embedding that it reads, if any; `device` is where that is computed.

    Errors: as of `new_cells`; an embedding that is missing, of other cells or of another width, or that nobody reads.
    """
    width, given = loaded.model.data.embedding_width, asked.embedding or asked.embedding_model
    mode = loaded.model.settings.mode
    if width and not given:
        raise UserError(
            f"{asked.model}: mode '{mode}' reads an embedding of width {width} by another model; give the table "
            "(--embedding) or the model that makes it (--embedding-model)."
        )
    if given and not width:
        raise UserError(f"{given}: the model in {asked.model} (mode '{mode}') reads expression, not an embedding.")
    cells = _read(asked, loaded)
    if not given:
        return cells
    points = _embedding(asked, cells, device)
    if points.shape[1] != width:
        raise UserError(
            f"{given}: the embedding has {points.shape[1]} dimensions, the model in {asked.model} reads {width}; "
            "expected that of the model it was trained on."
        )
    return cells._replace(inputs=replace(cells.inputs, embedding=points), files=[*cells.files, given])


def _read(asked: Asked, loaded: Loaded) -> Cells:
    if asked.counts:
        return Cells(embed.inputs_of(loaded, asked.counts), [asked.counts], {})
    assert asked.data is not None, "one of both is given"
    return new_cells(loaded, asked.model, asked.data, asked.settings, asked.min_genes_share, asked.labels)


def _embedding(asked: Asked, cells: Cells, device: torch.device) -> np.ndarray:
    """The embedding of the cells, (cells, width) float32, read or made."""
    if asked.embedding_model:
        base = load_model(asked.embedding_model)
        same = _read(replace(asked, model=asked.embedding_model, labels=False), base)
        model = base.model.to(device)
        return embed.embed_cells(model, Batches(same.inputs, model.wants(), device))
    assert asked.embedding is not None, "one of both is given"
    return read_cell_embedding(asked.embedding, cells.inputs.cell_ids)


def new_cells(
    loaded: Loaded, path: Path, data: str, settings: Mapping[str, Any], min_genes_share: float, labels: bool = False
) -> Cells:
    """Read all cells of a file that the model was not fitted to; see `read_new_cells`.

    path: of the model, for messages. data: the file. settings: of the data, as in `datasets`. labels: whether they must
    have labels. Errors: a transductive model, columns that are named and not there, no labels where they are needed.
    """
    model = loaded.model
    if model.transductive:
        raise UserError(
            f"{path}: mode '{model.settings.mode}' is transductive: it knows only the cells it was fitted to "
            "and cannot embed others; use a model of another mode."
        )
    dataset = parsed(Dataset, {**settings, "path": data})
    with open_source(dataset) as source:
        _check_columns(source, dataset, model.settings.mode, labels)
        inputs = read_new_cells(source, dataset, model.data, loaded.statistics, min_genes_share)
        return Cells(inputs, list(source.files()), dataset.model_dump(mode="json"))


def _check_columns(source: Source, dataset: Dataset, mode: str, labels: bool) -> None:
    """Columns that the settings name must be there, and the label column must be named where it is needed."""
    named = {"batch": dataset.batch, "label": dataset.label}
    problems = [
        f"{source.name}: --settings.{key}: " + unknown("obs column", column, source.obs.columns)
        for key, column in named.items()
        if column is not None and column not in source.obs
    ]
    if labels and dataset.label is None:
        problems.append(
            f"{source.name}: --settings.label: is missing; the loss of mode '{mode}' needs the obs column with the "
            f"cell types. obs columns: {', '.join(map(str, source.obs.columns)) or 'none'}."
        )
    if problems:
        raise UserError(*problems)
