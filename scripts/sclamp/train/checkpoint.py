"""model.pt: a trained model in one file, loadable without unpickling code.

Holds tensors, strings and numbers only: format, mode, settings (JSON), data (a `DataSpec` as JSON), state, mean and
standard deviation of the genes' log-normalised expression, provenance (JSON). Equal models give equal bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from sclamp.config.registry import MODES, model_class, settings_class
from sclamp.core.errors import UserError, unknown
from sclamp.core.files import written_aside
from sclamp.core.zips import check_sums
from sclamp.models.base import Model
from sclamp.types import DataSpec, GeneStatistics

FORMAT = 2
_KEYS = {"format", "mode", "settings", "data", "state", "gene_mean", "gene_std", "provenance"}


class Loaded(NamedTuple):
    """A model in evaluation mode, the statistics that its input is scaled by, and where it comes from."""

    model: Model
    statistics: GeneStatistics
    provenance: dict[str, Any]


def save_model(path: str | Path, model: Model, statistics: GeneStatistics, provenance: Mapping[str, Any]) -> None:
    """Write model.pt aside and rename it."""
    content = {
        "format": FORMAT,
        "mode": model.settings.mode,
        "settings": model.settings.model_dump_json(),
        "data": model.data.to_json(),
        "state": {name: packed(value) for name, value in model.state_dict().items()},
        "gene_mean": packed(statistics.mean),
        "gene_std": packed(statistics.std),
        "provenance": json.dumps(provenance),
    }
    save_plain(path, content)


def packed(value: Tensor) -> Tensor:
    """A copy on the CPU that owns exactly its values; torch saves the whole storage behind a view."""
    return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)


class Unreadable(Exception):
    """A file that torch cannot load; says why in one line."""


def save_plain(path: str | Path, content: Any) -> None:
    """Write with torch.save, aside and renamed; equal contents give equal bytes under any name.

    By way of memory: torch writes the name of a file into it, and answers a full disk with an error of its own.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with written_aside(path) as aside:
        aside.write_bytes(buffer.getbuffer())


def load_plain(path: str | Path) -> Any:
    """Load a file of tensors, containers, strings and numbers onto the CPU; no code in it is run."""
    try:
        check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        lines = str(error).splitlines()
        raise Unreadable(lines[0] if lines else type(error).__name__) from error


def read_content(path: str | Path) -> dict[str, Any]:
    """Read and check a model.pt without building the model."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    try:
        content = load_plain(path)
    except Unreadable as error:
        raise UserError(f"{path}: cannot be read as a model; truncated, or another kind of file ({error}).") from error
    if not isinstance(content, dict) or "format" not in content:
        raise UserError(f"{path}: not a model.pt of train_model.py (there is no 'format' in it).")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: has format {content['format']}, this version reads format {FORMAT}; train it anew.")
    if missing := sorted(_KEYS - set(content)):
        raise UserError(f"{path}: damaged; {', '.join(missing)} missing.")
    if content["mode"] not in MODES:
        raise UserError(f"{path}: " + unknown("mode", content["mode"], MODES))
    return content


def load_model(path: str | Path) -> Loaded:
    """Build the model of a model.pt."""
    content = read_content(path)
    try:
        settings = settings_class(content["mode"]).model_validate_json(content["settings"])
        model = model_class(content["mode"])(settings, DataSpec.from_json(content["data"]))
        model.load_state_dict(content["state"])
        provenance = json.loads(content["provenance"])
    except (ValidationError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{path}: was made by another version of mode '{content['mode']}' ({what}).") from error
    statistics = GeneStatistics(content["gene_mean"], content["gene_std"])
    return Loaded(model.eval(), statistics, provenance)


def start_from(model: Model, path: str | Path) -> list[str]:
    """Warm-start `model` from a model.pt; returns the names of the parameters that were taken.

    The source may know more genes, or the same in another order; its parameters are picked by gene id. Errors: genes
    of `model` that it lacks, other covariates, a model that does not accept it.
    """
    content = read_content(path)
    source = DataSpec.from_json(content["data"])
    _check_same_data(path, source, model.data)
    where = {gene: i for i, gene in enumerate(source.gene_ids)}
    genes = [where[gene] for gene in model.data.gene_ids]
    state = {name: value for name, value in content["state"].items() if not name.startswith("gene_prior_")}
    if len(genes) != len(where) or genes != sorted(genes):
        for name, axis in model.gene_axes().items():
            if name in state:
                state[name] = _pick(state[name], axis, genes, len(where))
    try:
        taken: list[str] = model.warm_start(state)  # type: ignore[operator]
    except ValueError as error:
        raise UserError(f"{path}: mode '{model.settings.mode}' cannot start from it: {error}") from error
    if not taken:
        raise UserError(
            f"{path}: mode '{content['mode']}' shares no parameter of equal size with mode '{model.settings.mode}'; "
            "expected a model with the same layer sizes."
        )
    return taken


def _pick(value: Tensor, axis: int, genes: Sequence[int], n_genes: int) -> Tensor:
    """Entries of the chosen genes along an axis, and what follows the genes there."""
    rest = range(n_genes, value.shape[axis])
    return value.index_select(axis, torch.tensor([*genes, *rest]))


def _check_same_data(path: str | Path, source: DataSpec, own: DataSpec) -> None:
    problems = []
    known = set(source.gene_ids)
    if missing := [gene for gene in own.gene_ids if gene not in known]:
        problems.append(
            f"{path}: was trained on other genes: it lacks {len(missing)} of the {own.n_genes} that are needed, such "
            f"as {', '.join(missing[:5])}; it has {source.n_genes}, such as {', '.join(source.gene_ids[:3])}."
        )
    if source.covariates != own.covariates:
        problems.append(
            f"{path}: was trained with other covariates: "
            f"{sorted((*source.covariates.categorical, *source.covariates.continuous))} of width "
            f"{source.covariates.width}, expected {sorted((*own.covariates.categorical, *own.covariates.continuous))} "
            f"of width {own.covariates.width}."
        )
    if problems:
        raise UserError(*problems)
