"""Several files as one: cells one after the other, genes joined by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.data.genes import gene_ids
from sclamp.data.panels import Panels, distinct
from sclamp.data.sources import Source, canonical


class Joined(Source):
    """A list of sources. obs gains the column `file`, and cell ids the file's name: they are unique across files.

    join: "inner" keeps the genes that all files have, in the first file's order; "outer" keeps all. A gene that a file
    lacks has no counts in its cells; they were not measured for it (see `panels`), unless absent is "zero".
    """

    def __init__(
        self,
        sources: list[Source],
        paths: list[Path],
        id_column: str | None,
        join: Literal["inner", "outer"],
        absent: Literal["unmeasured", "zero"],
    ) -> None:
        """id_column: var column with gene ids, the same in all files; None takes the var index."""
        self.name = ", ".join(source.name for source in sources)
        self._sources = sources
        own = [pd.Index(gene_ids(source, id_column), dtype=object) for source in sources]
        for source, ids in zip(sources, own, strict=True):
            if not ids.is_unique:
                twice = ids[ids.duplicated()][0]
                raise UserError(f"{source.name}: gene '{twice}' occurs more than once; files are joined on unique ids.")
        genes = own[0]
        for ids in own[1:]:
            genes = genes[genes.isin(ids)] if join == "inner" else genes.append(ids[~ids.isin(genes)])
        if not len(genes):
            raise UserError(f"join: the {len(sources)} files share no gene; first genes: {_first_genes(sources, own)}.")
        self._places = [genes.get_indexer(ids) for ids in own]
        self.var = _first_known([s.var.set_axis(ids) for s, ids in zip(sources, own, strict=True)], genes)
        names = _short_names(paths)
        self.obs = _stacked([source.obs for source in sources], names)
        self.files_have = {name: pd.Index(ids) for name, ids in zip(names, own, strict=True)}
        rows = np.stack([genes.isin(ids) for ids in own])
        self._panels = distinct(names, rows, [len(s.obs) for s in sources]) if absent == "unmeasured" else None
        if id_column is not None:
            self.var[id_column] = genes

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """See `Source.blocks`."""
        for source, places in zip(self._sources, self._places, strict=True):
            kept = places >= 0
            for block in source.blocks():
                shared = block[:, kept].tocsr() if not kept.all() else block
                moved = places[kept].astype(np.int32)[shared.indices]
                yield canonical(
                    sparse.csr_matrix((shared.data, moved, shared.indptr), shape=(block.shape[0], len(self.var)))
                )

    def files(self) -> list[Path]:
        """The files of all sources."""
        return [file for source in self._sources for file in source.files()]

    def obsm(self) -> dict[str, np.ndarray]:
        """Arrays that all files have with equal widths."""
        parts = [source.obsm() for source in self._sources]
        shared = [name for name in parts[0] if all(name in part for part in parts)]
        shared = [name for name in shared if len({part[name].shape[1:] for part in parts}) == 1]
        return {name: np.concatenate([part[name] for part in parts]) for name in shared}

    def panels(self) -> Panels | None:
        """Files with the same genes share a panel."""
        return self._panels

    def elsewhere(self) -> dict[str, Source]:
        """Places that the first file offers."""
        return self._sources[0].elsewhere()


def _short_names(paths: list[Path]) -> list[str]:
    """The files' stems, with as many parent folders as it takes to tell them apart."""
    for depth in range(1, max(len(p.parts) for p in paths) + 1):
        names = ["_".join((*p.parts[-depth:-1], p.stem)) for p in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"path: '{paths[0]}' is listed more than once.")


def _stacked(frames: list[pd.DataFrame], names: list[str]) -> pd.DataFrame:
    parts = []
    for frame, name in zip(frames, names, strict=True):
        part = frame.set_axis([f"{cell}-{name}" for cell in frame.index])
        # Categories differ between files: strings join where categoricals would become anything.
        part = part.astype({c: object for c in part if isinstance(part[c].dtype, pd.CategoricalDtype)})
        parts.append(part if "file" in part else part.assign(file=name))
    return pd.concat(parts)


def _first_known(frames: list[pd.DataFrame], genes: pd.Index) -> pd.DataFrame:
    """Annotation of each gene from the first file that has it."""
    every = pd.concat([f.astype({c: object for c in f if isinstance(f[c].dtype, pd.CategoricalDtype)}) for f in frames])
    return every[~every.index.duplicated()].loc[genes]


def _first_genes(sources: list[Source], own: list[pd.Index]) -> str:
    return "; ".join(f"{s.name}: {', '.join(ids[:3])}" for s, ids in zip(sources, own, strict=True))
