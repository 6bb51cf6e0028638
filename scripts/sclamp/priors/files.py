"""Gene priors from files that somebody else made: Parquet, CSV/TSV, npz, pickle, torch or safetensors checkpoint."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from sclamp.config.gene_priors import FilePrior
from sclamp.core.errors import UserError, unknown
from sclamp.core.limits import memory_for
from sclamp.priors.checkpoints import CHECKPOINTS, checkpoint_vectors
from sclamp.priors.local import localized
from sclamp.priors.names import OTHER_IDS, GeneNames, names_from
from sclamp.priors.pickles import read_pickle
from sclamp.priors.tables import PARQUET, SEPARATORS, need_columns, read_frame, suffix
from sclamp.priors.vectors import GeneVectors, read_vectors, stacked


def file_vectors(settings: FilePrior) -> GeneVectors:
    """Read a file by its extension. Errors: another digest than `sha256`, an unknown extension, each format's own."""
    settings = localized(settings)
    path = settings.path
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file." if not Path(path).exists() else f"{path}: a folder, not a file.")
    with memory_for(path):
        return _read(settings)


def _read(settings: FilePrior) -> GeneVectors:
    path = settings.path
    kind = suffix(path)
    if kind in PARQUET:
        return read_vectors(path, settings.id_column, settings.embedding_column)
    if kind in SEPARATORS:
        return _from_table(settings)
    if kind == ".npz":
        return _from_npz(settings)
    if kind in {".pkl", ".pickle"}:
        content = read_pickle(path)
        return GeneVectors(GeneNames(list(content)), stacked(path, list(content), content.values()))
    if kind in CHECKPOINTS:
        return checkpoint_vectors(settings)
    known = ", ".join((".parquet", ".tsv", ".csv", ".npz", ".pkl", ".pickle", *sorted(CHECKPOINTS)))
    raise UserError(f"{path}: the extension '{kind}' is not known. Known: {known}; .tsv and .csv also with .gz.")


def _from_table(settings: FilePrior) -> GeneVectors:
    """A column of ids, numbers in all others (but `symbol` and `ensembl`)."""
    path = settings.path
    table = read_frame(path, text=(settings.id_column,))
    need_columns(path, list(table.columns), {"id_column": settings.id_column})
    names = names_from(table, settings.id_column)
    numbers = table.drop(columns=[c for c in {settings.id_column, *OTHER_IDS} if c in table.columns])
    words = [str(column) for column in numbers.columns if numbers[column].dtype.kind not in "fiub"]
    if words:
        shown = ", ".join(f"'{column}'" for column in words[:5])
        raise UserError(f"{path}: {len(words)} columns besides '{settings.id_column}' are not numeric: {shown}.")
    return GeneVectors(names, stacked(path, names.ids, numbers.to_numpy(dtype=np.float32)))


def _from_npz(settings: FilePrior) -> GeneVectors:
    path, wanted = settings.path, {"id_column": settings.id_column, "embedding_column": settings.embedding_column}
    ids, values = read_npz(path, wanted)
    if ids.ndim != 1 or values.ndim != 2 or len(ids) != len(values):
        shapes = f"{wanted['id_column']} {ids.shape}, {wanted['embedding_column']} {values.shape}"
        raise UserError(f"{path}: ids (n) and vectors (n, width) are expected, found {shapes}.")
    names = GeneNames([str(name) for name in ids])
    return GeneVectors(names, stacked(path, names.ids, values))


def read_npz(path: str, wanted: dict[str, str]) -> list[np.ndarray]:
    """Arrays of an npz file (key of the settings -> name of the array). Errors: a damaged file, missing arrays."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {key: name for key, name in wanted.items() if name not in arrays.files}
            if missing:
                known = arrays.files
                raise UserError(*(f"{path}: " + unknown(f"{key}: array", n, known) for key, n in missing.items()))
            return [arrays[name] for name in wanted.values()]
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, KeyError) as error:
        hint = "strings must be saved as text, not as objects"
        raise UserError(f"{path}: cannot be read as npz ({error}); {hint}.") from error
