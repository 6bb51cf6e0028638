"""Embedding tables of genes inside torch or safetensors checkpoints."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.config.gene_priors import FilePrior
from sclamp.core.errors import UserError, unknown
from sclamp.core.zips import check_sums
from sclamp.priors.names import GeneNames
from sclamp.priors.vectors import GeneVectors, stacked

CHECKPOINTS = {".pt", ".pth", ".ckpt", ".bin", ".safetensors"}


def checkpoint_vectors(settings: FilePrior) -> GeneVectors:
    """Rows of a checkpoint's embedding table, by a vocabulary.

    `tensor` names the table; without it the checkpoint must hold exactly one matrix with a row for every entry.
    Errors: no vocabulary, rows beyond the table, more in the file than tensors, a tensor that is not there.
    """
    path = settings.path
    if settings.vocabulary is None:
        raise UserError(f"{path}: a checkpoint has no gene names; `vocabulary` must name a JSON of gene -> row.")
    vocabulary = read_vocabulary(settings.vocabulary)
    tensors = _safetensors(path) if Path(path).suffix == ".safetensors" else _torch(path)
    table = _chosen(settings, tensors, max(vocabulary.values(), default=-1) + 1)
    outside = [name for name, row in vocabulary.items() if not 0 <= row < len(table)]
    if outside:
        found = f"'{outside[0]}' has row {vocabulary[outside[0]]}, the table has {len(table)} rows"
        raise UserError(f"{settings.vocabulary}: {len(outside)} genes point beyond the table: {found}.")
    names = GeneNames(list(vocabulary))
    return GeneVectors(names, stacked(path, names.ids, table[list(vocabulary.values())]))


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """Read a JSON of gene -> row, or a list of genes in the order of rows; entries like <pad> are left out."""
    try:
        value: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from error
    if isinstance(value, list):
        value = {str(name): row for row, name in enumerate(value)}
    if not isinstance(value, dict) or not all(type(row) is int for row in value.values()):
        raise UserError(f"{path}: a mapping of gene -> row (or a list of genes) is expected.")
    return {name: row for name, row in value.items() if not (name.startswith("<") and name.endswith(">"))}


def _torch(path: str) -> dict[str, np.ndarray]:
    import torch

    try:
        if zipfile.is_zipfile(path):  # the older format has no checksums
            check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        hint = "which is not loaded, for safety; save the state_dict alone"
        raise UserError(f"{path}: damaged, or holds more than tensors, {hint} ({_line(error)}).") from error
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path}: damaged, truncated or no torch checkpoint ({_line(error)}).") from error
    flat = _flat(content)
    return {name: t.detach().float().numpy() for name, t in flat.items() if isinstance(t, torch.Tensor) and t.ndim == 2}


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _safetensors(path: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: value for name, value in load_file(path).items() if value.ndim == 2}
    except (SafetensorError, OSError, TypeError, KeyError, ValueError, AttributeError, MemoryError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}).") from error


def _flat(content: Any) -> dict[str, Any]:
    """Nested dicts with dotted names; a dict that comes up again is not followed (a file may hold circles)."""
    if not isinstance(content, dict):
        return {"tensor": content}
    flat: dict[str, Any] = {}
    seen, open_ones = {id(content)}, [("", content)]
    while open_ones:
        prefix, values = open_ones.pop()
        for key, value in values.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            if not isinstance(value, dict):
                flat[name] = value
            elif id(value) not in seen:
                seen.add(id(value))
                open_ones.append((name, value))
    return flat


def _chosen(settings: FilePrior, tensors: dict[str, np.ndarray], rows: int) -> np.ndarray:
    if settings.tensor is not None:
        if settings.tensor not in tensors:
            raise UserError(f"{settings.path}: " + unknown("tensor: matrix", settings.tensor, tensors))
        return tensors[settings.tensor]
    fitting = {name: value for name, value in tensors.items() if len(value) >= rows}
    if len(fitting) != 1:
        shown = ", ".join(f"{name} {value.shape}" for name, value in (fitting or tensors).items()) or "none"
        many = f"{len(fitting)} matrices have {rows} rows or more"
        raise UserError(f"{settings.path}: {many}; `tensor` must name the embedding table. Matrices: {shown}.")
    return next(iter(fitting.values()))
