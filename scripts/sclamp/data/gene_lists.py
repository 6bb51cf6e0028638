"""Gene selections that the user lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError, nearest
from sclamp.data.genes import without_version


def listed_ids(settings: GeneSelection) -> list[str]:
    """Gene identifiers of `genes` and `file`, without repeats; empty lines and lines that start with # are skipped."""
    names = list(settings.genes)
    if settings.file is not None:
        path = Path(settings.file)
        if not path.is_file():
            raise UserError(f"file: the gene list '{settings.file}' does not exist.")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"file: the gene list '{settings.file}' cannot be read as text ({error}).") from error
        lines = (line.strip() for line in text.splitlines())
        listed = [line for line in lines if line and not line.startswith("#")]
        if not listed or "\0" in text:
            what = "is no text" if listed else "holds no genes"
            raise UserError(f"file: the gene list '{settings.file}' {what}; one gene per line is expected.")
        names += listed
    return list(dict.fromkeys(names))


def listed_genes(settings: GeneSelection, var: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """Mask of the listed genes, found by id, then by id without version, then by symbol.

    notes: gets a sentence about genes that are not found. var: index gene ids, column symbol.
    """
    ids = var.index.to_numpy(dtype=object)
    ways = [ids, [without_version(i) for i in ids], var["symbol"].astype(object).to_numpy()]
    places = [{name: place for place, name in reversed(list(enumerate(way)))} for way in ways]
    selected, missing = np.zeros(len(var), dtype=bool), []
    names = listed_ids(settings)
    for name in names:
        wanted = (name, without_version(name), name)
        found = next((p[w] for p, w in zip(places, wanted, strict=True) if w in p), None)
        if found is None:
            missing.append(name)
        else:
            selected[found] = True
    if missing:
        shown = [f"'{name}'{f' (nearest: {close})' if (close := nearest(name, ids)) else ''}" for name in missing[:5]]
        more = ", ..." if len(missing) > 5 else ""
        notes.append(f"gene list: not in the data ({len(missing)} of {len(names)}): {', '.join(shown)}{more}.")
    return selected
