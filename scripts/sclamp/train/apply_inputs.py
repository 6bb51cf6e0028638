"""The cells that a trained model is applied to: those of its own data set, or new ones from any file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sclamp.config.datasets import Dataset
from sclamp.config.parse import parsed
from sclamp.core.errors import UserError, unknown
from sclamp.data.inputs import Inputs
from sclamp.data.sources import Source, open_source
from sclamp.train import embed
from sclamp.train.checkpoint import Loaded
from sclamp.train.new_data import read_new_cells


class Cells(NamedTuple):
    """Cells as inputs of a model, the files that they come from, and the settings that they were read with."""

    inputs: Inputs
    files: list[Path]
    settings: dict[str, Any]


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


def own_cells(loaded: Loaded, counts: Path) -> Cells:
    """All cells of the file that a model was trained on."""
    return Cells(embed.inputs_of(loaded, counts), [counts], {})
