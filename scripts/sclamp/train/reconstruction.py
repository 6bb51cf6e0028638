"""Test cells given back by a model: all of them seen, or with entries hidden from it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sclamp.core.progress import Progress
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.inputs import Inputs
from sclamp.data.stream import cut
from sclamp.models.base import Model
from sclamp.train.agreement import SCHEMA, agreement_table, spaced
from sclamp.train.imputation import conditioned, hidden_entries, hide
from sclamp.train.scale import comparable, measured, space
from sclamp.types import Batch

PAIRS = pa.schema(
    {
        "cell_id": pa.string(), "gene_id": pa.string(), "measured": pa.float32(), "reconstructed": pa.float32(),
        "masked": pa.bool_(),
    }
)  # fmt: skip

MAX_PAIRS = 20_000
"""Entries in a table of pairs."""


@dataclass(frozen=True)
class Reconstruction:
    """Cells as measured and as a model gives them back, (cells, genes) float32 on the scale of `scale.compared_on`.

    judged: None, or the mask (cells, genes) of the entries that count: those that were measured and, where entries were
    hidden, that the model did not see.
    """

    measured: np.ndarray
    reconstructed: np.ndarray
    cell_ids: np.ndarray
    gene_ids: tuple[str, ...]
    judged: np.ndarray | None = None


def held_out_rows(inputs: Inputs, n_genes: int) -> np.ndarray:
    """Positions of the test cells (without any, of the validation cells), or of an evenly spaced sample of them."""
    split = "test" if len(inputs.rows("test")) else "val"
    rows = inputs.rows(split)
    if split == "val":
        print("reconstruction: there are no test cells; measured on the validation cells", file=sys.stderr)
    if len(chosen := spaced(rows, n_genes)) < len(rows):
        print(f"reconstruction: measured on {len(chosen)} of {len(rows)} {split} cells", file=sys.stderr)
    return chosen


def reconstruct(model: Model, batches: Batches, rows: np.ndarray) -> Reconstruction | None:
    """Reconstruct cells; None for a model that does not reconstruct, or without cells.

    batches: with counts among what they hold, for a count model.
    """
    pairs = ((batch, batch, None) for batch in batches.of(cut(rows, EVALUATION_ROWS)))
    return _collect(model, batches, pairs, batches.inputs.cell_ids[rows], batches.inputs.measured(rows))


def impute(model: Model, batches: Batches, rows: np.ndarray, share: float, seed: int) -> Reconstruction | None:
    """Reconstruct cells of which a share of the entries is hidden: see `sclamp.train.imputation`.

    batches: with counts among what they hold. None as in `reconstruct`.
    """
    ids = batches.inputs.cell_ids[rows]
    masked = hidden_entries(ids, model.data.gene_ids, share, seed)

    def pairs() -> Iterator[tuple[Batch, Batch, Tensor]]:
        plan = cut(np.arange(len(rows)), EVALUATION_ROWS)
        for places, batch in zip(plan, batches.of([rows[places] for places in plan]), strict=True):
            mask = torch.from_numpy(masked[places]).to(batches.device)
            seen = hide(batch, mask, batches.statistics, batches.inputs.recipe, model.wants())
            whole = Batch(batch.rows, batch.covariates, batch.batch, seen.library_size, counts=batch.counts)
            yield seen, whole, mask

    on_panel = batches.inputs.measured(rows)
    return _collect(model, batches, pairs(), ids, masked if on_panel is None else masked & on_panel)


def _collect(
    model: Model,
    batches: Batches,
    pairs: Iterator[tuple[Batch, Batch, Tensor | None]],
    cell_ids: np.ndarray,
    judged: np.ndarray | None,
) -> Reconstruction | None:
    """Reconstruct batches, each given as the model sees it, as it was measured, and with the mask of what is hidden."""
    statistics, recipe = batches.statistics, batches.inputs.recipe
    found, truth = [], []
    told = Progress(len(cell_ids), "cells reconstructed", "cells")
    with torch.no_grad():
        for seen, whole, hidden in pairs:
            x = model.reconstruct(seen)
            if x is None:
                return None
            if hidden is not None and space(model) == "counts":
                assert whole.counts is not None, "asked for by the caller"
                x = conditioned(x, whole.counts, hidden if seen.measured is None else hidden | ~seen.measured)
            found.append(comparable(model, x, whole.library_size, statistics, recipe).float().cpu().numpy())
            truth.append(measured(model, whole, statistics, recipe).cpu().numpy())
            told.add(len(whole))
    told.end()
    if not found:
        return None
    return Reconstruction(np.concatenate(truth), np.concatenate(found), cell_ids, model.data.gene_ids, judged)


def agreement_of(found: Reconstruction | None) -> pa.Table:
    """Agreement of the entries that count, per gene, per cell and in all; no rows where there is none."""
    if found is None:
        return SCHEMA.empty_table()
    return agreement_table(found.measured, found.reconstructed, found.cell_ids, found.gene_ids, found.judged)


def pairs_table(seen: Reconstruction | None, hidden: Reconstruction | None, seed: int) -> pa.Table:
    """A random sample of single entries (see `PAIRS`), half of them hidden from the model, in the order of the cells.

    At most `MAX_PAIRS` rows; fewer hidden ones where there are fewer, and none where the model does not reconstruct.
    """
    parts, left = [PAIRS.empty_table()], MAX_PAIRS
    for found, wanted in ((hidden, MAX_PAIRS // 2), (seen, MAX_PAIRS)):
        if found is not None:
            entries = np.arange(found.measured.size) if found.judged is None else np.flatnonzero(found.judged)
            n = min(len(entries), wanted, left)
            chosen = np.sort(np.random.default_rng([seed, found is hidden]).choice(entries, n, replace=False))
            parts.append(_pairs(found, chosen, masked=found is hidden))
            left -= n
    return pa.concat_tables(parts)


def _pairs(found: Reconstruction, entries: np.ndarray, masked: bool) -> pa.Table:
    cells, genes = np.divmod(entries, len(found.gene_ids))
    columns = {
        "cell_id": pa.array(found.cell_ids[cells], pa.string()),
        "gene_id": pa.array(np.array(found.gene_ids, dtype=object)[genes], pa.string()),
        "measured": found.measured.ravel()[entries],
        "reconstructed": found.reconstructed.ravel()[entries],
        "masked": np.full(len(entries), masked),
    }
    return pa.table(columns, PAIRS)
