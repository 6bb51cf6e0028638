"""Log counts and the counts that are not zero, straight from sparse rows: no pass over the zeros.

For models that read nothing else. On the CPU a compiled loop writes both at once; on a GPU the sparse matrix lies there
and rows are picked by index operations whose sizes are known beforehand, so that nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sclamp.data.h5ad import row_blocks
from sclamp.data.inputs import Inputs
from sclamp.data.stream import read_ahead
from sclamp.types import Entries

LOG1P = torch.arange(1 << 16, dtype=torch.float32).log1p()
"""log(1 + count) of the counts that are found nearly everywhere."""

Expression = dict[str, Any]
"""log_counts (n, g) float32 and entries, as in a `Batch`."""


class Rows(NamedTuple):
    """CSR rows of the model's genes, sorted by gene, without zeros."""

    indptr: np.ndarray
    genes: np.ndarray
    counts: np.ndarray


def rows_of(inputs: Inputs, count_type: type[np.generic]) -> Rows:
    """The model's genes of all cells, in memory."""
    counts, parts, lengths = inputs.counts, [], [np.zeros(1, np.int64)]
    gene_type = np.int16 if inputs.n_genes <= np.iinfo(np.int16).max else np.int32
    for block in row_blocks(counts.indptr):
        values = slice(counts.indptr[block.start], counts.indptr[block.stop])
        genes, found = inputs.columns[counts.indices[values]], counts.data[values]
        cells = np.repeat(np.arange(block.stop - block.start), np.diff(counts.indptr[block.start : block.stop + 1]))
        read = (genes >= 0) & (found != 0)
        cells, genes, found = cells[read], genes[read], found[read]
        key = cells * inputs.n_genes + genes
        if (np.diff(key) < 0).any():
            order = np.argsort(key)
            genes, found = genes[order], found[order]
        lengths.append(np.bincount(cells, minlength=block.stop - block.start))
        parts.append((genes.astype(gene_type), found.astype(count_type)))
    genes, found = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Rows(np.cumsum(np.concatenate(lengths)), genes, found)


class ResidentEntries:
    """The sparse matrix on the device."""

    def __init__(self, inputs: Inputs, device: torch.device, count_type: type[np.generic]) -> None:
        self._rows, self._n_genes = rows_of(inputs, count_type), inputs.n_genes
        self._columns = np.arange(inputs.n_genes)
        self._on_device = None if device.type == "cpu" else PickedRows(self._rows, inputs.n_genes, device)

    def take(self, plan: Sequence[np.ndarray], here: Sequence[Tensor]) -> Iterator[Expression]:
        """Expression for each array of rows, whose positions lie on the device in `here`."""
        for rows, chosen in zip(plan, here, strict=True):
            if self._on_device is not None:
                yield self._on_device.pick(rows, chosen)
            else:
                yield _dense_and_entries(*gathered(*self._rows, rows, self._columns, self._n_genes))


class StreamedEntries:
    """Rows gathered from the mapped file by a background thread, a few batches ahead."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self._inputs, self._device = inputs, device

    def take(self, plan: Sequence[np.ndarray], here: Sequence[Tensor]) -> Iterator[Expression]:
        """See `ResidentEntries`; only the entries travel to a GPU."""
        gathering = read_ahead(plan, self._gather)
        for rows, (dense, position, count) in zip(plan, gathering, strict=True):
            if self._device.type == "cpu":
                yield _dense_and_entries(dense, position, count)
            else:
                there = (values.to(self._device, non_blocking=True) for values in (position, count))
                yield scattered(Entries(*there), len(rows), self._inputs.n_genes)

    def _gather(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        counts = self._inputs.counts
        dense, position, count = gathered(
            counts.indptr, counts.indices, counts.data, rows, self._inputs.columns, self._inputs.n_genes
        )
        if self._device.type == "cuda":  # only pinned memory is copied without waiting
            position, count = position.pin_memory(), count.pin_memory()
        return dense, position, count


class PickedRows:
    """A sparse matrix on a device, whose rows are picked there."""

    def __init__(self, rows: Rows, n_genes: int, device: torch.device) -> None:
        self._lengths, self._n_genes = np.diff(rows.indptr), n_genes
        self._starts, self._genes, self._counts = (torch.from_numpy(array).to(device) for array in rows)

    def pick(self, rows: np.ndarray, chosen: Tensor) -> Expression:
        """Expression of these rows, which are `chosen` on the device. Their sizes are known here: it is not asked."""
        device, total = self._starts.device, int(self._lengths[rows].sum())
        start = self._starts.index_select(0, chosen)
        length = self._starts.index_select(0, chosen + 1) - start
        cell = torch.arange(len(rows), device=device).repeat_interleave(length, output_size=total)
        shift = start - (length.cumsum(0) - length)  # from the position in the batch to that in the matrix
        at = torch.arange(total, device=device) + shift.index_select(0, cell)
        position = cell * self._n_genes + self._genes.index_select(0, at)
        return scattered(
            Entries(position, self._counts.index_select(0, at).to(torch.float32)), len(rows), self._n_genes
        )


def scattered(entries: Entries, n_cells: int, n_genes: int) -> Expression:
    """Expression out of its entries, on their device."""
    dense = torch.zeros(n_cells * n_genes, device=entries.count.device)
    dense.index_copy_(0, entries.position, entries.count.log1p())
    return {"log_counts": dense.view(n_cells, n_genes), "entries": entries}


def gathered(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, rows: np.ndarray, columns: np.ndarray, n_genes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log counts (len(rows), n_genes), positions and counts of the entries; see `gather.gather_entries`."""
    from sclamp.data.gather import gather_entries

    most = int((indptr[rows + 1] - indptr[rows]).sum())
    dense = torch.empty(len(rows), n_genes)
    position, count = torch.empty(most, dtype=torch.int64), torch.empty(most)
    arrays = (LOG1P.numpy(), dense.numpy(), position.numpy(), count.numpy())
    n, in_order = gather_entries(indptr, indices, data, rows, columns, *arrays)
    position, count = position[:n], count[:n]
    if not in_order:
        position, order = position.sort()
        count = count[order]
    return dense, position, count


def _dense_and_entries(dense: Tensor, position: Tensor, count: Tensor) -> Expression:
    return {"log_counts": dense, "entries": Entries(position, count)}
