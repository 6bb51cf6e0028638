"""Batches on the device: counts taken from where they lie, normalised there."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sclamp.core.errors import UserError
from sclamp.core.progress import Progress
from sclamp.data.entries import ResidentEntries, StreamedEntries
from sclamp.data.h5ad import row_blocks
from sclamp.data.inputs import Inputs
from sclamp.data.placement import Placement, free_memory, place
from sclamp.data.stream import cut, read_ahead
from sclamp.models.base import Stream
from sclamp.types import Batch, Entries, GeneStatistics, Recipe, Want

EXPRESSION: frozenset[Want] = frozenset({"counts", "log_counts", "entries", "lognorm", "scaled"})
"""What is made of the counts."""
SPARSE: frozenset[Want] = frozenset({"log_counts", "entries"})
"""What needs no dense counts."""
EVALUATION_ROWS = 512
"""Cells per batch where nothing is trained; the results do not depend on it."""


def normalise(
    counts: Tensor, library_size: Tensor, statistics: GeneStatistics, recipe: Recipe, wants: frozenset[Want]
) -> dict[str, Tensor]:
    """Counts (cells, genes) of any type to the float32 inputs that a model wants.

    These are counts, log_counts, lognorm, scaled, each under its name.
    """
    x = counts.to(torch.float32)
    inputs = {"counts": x} if "counts" in wants else {}
    if "log_counts" in wants:
        inputs["log_counts"] = x.log1p()
    if not wants & {"lognorm", "scaled"}:
        return inputs
    factor = (recipe.target_sum / library_size.clamp(min=1)).unsqueeze(1)
    y = x * factor if "counts" in wants else x.mul_(factor)
    if recipe.log1p:
        y.log1p_()
    if "lognorm" in wants:
        inputs["lognorm"] = y
    if "scaled" in wants:
        z = y - statistics.mean if "lognorm" in wants else y.sub_(statistics.mean)
        z.div_(statistics.std)
        inputs["scaled"] = z if recipe.clip is None else z.clamp_(-recipe.clip, recipe.clip)
    return inputs


def say_nothing(inputs: dict[str, Tensor], where: Tensor, statistics: GeneStatistics) -> None:
    """Give entries (a mask, cells x genes) of lognorm and scaled the value that tells a model least, in place.

    It is the mean of the training cells: 0 in scaled, the gene's mean in lognorm.
    """
    if "lognorm" in inputs:
        inputs["lognorm"] = torch.where(where, statistics.mean, inputs["lognorm"])
    if "scaled" in inputs:
        inputs["scaled"] = inputs["scaled"].masked_fill(where, 0)


def entries_of(counts: Tensor) -> Entries:
    """The counts (cells, genes) of any type that are not zero."""
    flat = counts.flatten()
    position = flat.nonzero().squeeze(1)
    return Entries(position, flat.index_select(0, position).to(torch.float32))


class Source(Protocol):
    """Where counts come from."""

    def take(self, plan: Sequence[np.ndarray], here: Sequence[Tensor]) -> Iterator[Any]:
        """Dense counts (rows, genes) on the device in their smallest type, or `Expression`, for each array of rows.

        here: the plan on the device.
        """


class Resident:
    """The whole dense matrix on the device."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        dense = np.zeros((inputs.counts.n_cells, inputs.n_genes), dtype=dense_type(inputs))
        counts = inputs.counts
        for rows in row_blocks(counts.indptr):
            values = slice(counts.indptr[rows.start], counts.indptr[rows.stop])
            columns = inputs.columns[counts.indices[values]]
            lines = np.repeat(np.arange(rows.start, rows.stop), np.diff(counts.indptr[rows.start : rows.stop + 1]))
            read = columns >= 0
            dense[lines[read], columns[read]] = counts.data[values][read]
        self._matrix = torch.from_numpy(dense).to(device)

    def take(self, plan: Sequence[np.ndarray], here: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        for rows in here:
            yield self._matrix.index_select(0, rows)


class Streamed:
    """Rows gathered from the mapped file by a background thread, a few batches ahead."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._inputs, self._device = inputs, device
        self._type = torch.from_numpy(np.empty(0, dtype=dense_type(inputs))).dtype

    def take(self, plan: Sequence[np.ndarray], here: Sequence[Tensor]) -> Iterator[Tensor]:
        """See `Source`."""
        for block in read_ahead(plan, self._gather):
            yield block.to(self._device, non_blocking=True)

    def _gather(self, rows: np.ndarray) -> Tensor:
        from sclamp.data.gather import gather_rows

        # torch's pinned memory may be used again only after the copy out of it has ended, which torch sees to.
        pinned = self._device.type == "cuda"
        block = torch.empty((len(rows), self._inputs.n_genes), dtype=self._type, pin_memory=pinned)
        counts = self._inputs.counts
        gather_rows(counts.indptr, counts.indices, counts.data, rows, self._inputs.columns, block.numpy())
        return block


def dense_type(inputs: Inputs) -> type[np.generic]:
    """The smallest type that torch indexes on every device and that holds the counts."""
    stored = inputs.counts.data.dtype
    if stored == np.uint8:
        return np.uint8
    if stored.kind == "u":
        largest = max((int(part.max()) for part in np.array_split(inputs.counts.data, 64) if len(part)), default=0)
        return np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    return np.float32


class Batches(Stream):
    """Batches of the cells of `inputs` on `device`, holding what `wants` names."""

    def __init__(
        self, inputs: Inputs, wants: frozenset[Want], device: torch.device, placement: Placement | None = None
    ) -> None:
        """placement: decided from sizes unless given."""
        self.inputs, self.wants, self.device = inputs, wants, device
        self._sparse = wants & EXPRESSION <= SPARSE
        self.placement = placement or self._place()
        self.statistics = GeneStatistics(self._on_device(inputs.mean), self._on_device(inputs.std))
        self._values = {
            name: self._on_device(getattr(inputs, name)) for name in ("library_size", "covariates", "batch")
        }
        if "labels" in wants:
            self._values["label"] = self._on_device(inputs.label)
        if "embedding" in wants:
            if inputs.embedding is None:
                raise UserError("the model reads an embedding by another model (--embedding), and none was given.")
            self._values["embedding"] = self._on_device(inputs.embedding)
        panels = inputs.panels
        self._panels = None if panels is None else (self._on_device(panels.measured), self._on_device(panels.of_cell))
        self._source = self._open() if wants & EXPRESSION else None

    def of(self, plan: Sequence[np.ndarray]) -> Generator[Batch]:
        """One batch for each array of rows; close it when it is left early."""
        if not plan:
            return
        # One transfer for all rows: each would make the CPU wait for the device.
        on_device = self._on_device(np.concatenate(plan)).split([len(rows) for rows in plan])
        counts: Iterator[Any] = self._source.take(plan, on_device) if self._source else iter([None] * len(plan))
        for here, block in zip(on_device, counts, strict=True):
            values: dict[str, Any] = {name: value.index_select(0, here) for name, value in self._values.items()}
            inputs: dict[str, Any] = {}
            if block is not None and self._sparse:
                inputs = {name: block[name] for name in self.wants & SPARSE}
            elif block is not None:
                inputs = {"entries": entries_of(block)} if "entries" in self.wants else {}
                inputs |= normalise(block, values["library_size"], self.statistics, self.inputs.recipe, self.wants)
            if self._panels is not None:
                table, of_cell = self._panels
                inputs["measured"] = table.index_select(0, of_cell.index_select(0, here))
                say_nothing(inputs, ~inputs["measured"], self.statistics)
            yield Batch(here, **values, **inputs)

    def batches(self, split: str | None) -> Iterator[Batch]:
        """Batches in file order, of one split or of all cells."""
        rows = self.inputs.rows(split)
        told = Progress(len(rows), "reading cells", "cells")
        for batch in self.of(cut(rows, EVALUATION_ROWS)):
            yield batch
            told.add(len(batch))
        told.end()

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements="W")).to(self.device, non_blocking=True)

    def _open(self) -> Source:
        if not self._sparse:
            return (Resident if self.placement.resident else Streamed)(self.inputs, self.device)
        if self.placement.resident:
            return ResidentEntries(self.inputs, self.device, dense_type(self.inputs))
        return StreamedEntries(self.inputs, self.device)

    def _place(self) -> Placement:
        counts, host = self.inputs.counts, free_memory()
        device = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else host
        matrix = counts.n_cells * self.inputs.n_genes * np.dtype(dense_type(self.inputs)).itemsize
        what = "dense"
        if self._sparse:
            matrix, what = counts.n_bytes, "sparse"
        placement = place(matrix, counts.n_bytes, device, host, what)
        print(f"data: {placement.why}", file=sys.stderr)
        return placement
