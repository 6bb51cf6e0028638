"""Entries hidden from a model and imputed by it.

What hidden means: a hidden (cell, gene) entry must not reach the model by any path. Its count is taken out of the cell
and out of the cell's library size, so that the visible entries are normalised by what is visible; then it gets the
value that tells a model least: 0 in z-scored expression and the gene's mean over training cells in log-normalised
expression (both the training mean), 0 in counts in any form. So a cell with any other hidden counts looks the same to
the model. It is judged against the hidden count, normalised by the same visible library size.

Entries are drawn among all, not only among those above zero: where only non-zero entries are hidden, to be hidden would
itself say that the gene is expressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sclamp.data.batches import EXPRESSION, entries_of, normalise, say_nothing
from sclamp.types import Batch, GeneStatistics, Recipe, Want


def hidden_entries(cell_ids: Sequence[str], gene_ids: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Mask (cells, genes) of round(share x genes) entries of each cell, at least one, drawn at random.

    A function of seed, cell id and gene id: neither the order nor the batch matters, and models of the same genes are
    asked the same.
    """
    cells = np.array([_digest(seed, str(cell)) for cell in cell_ids], dtype=np.uint64)
    genes = np.array([_digest(seed, str(gene)) for gene in gene_ids], dtype=np.uint64)
    n_hidden = min(max(1, round(share * len(genes))), len(genes))
    mask = np.zeros((len(cells), len(genes)), dtype=bool)
    for line, cell in zip(mask, cells, strict=True):
        line[np.argpartition(_mixed(genes ^ cell), n_hidden - 1)[:n_hidden]] = True
    return mask


def _digest(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


def _mixed(x: np.ndarray) -> np.ndarray:
    """Scatter 64-bit integers (the finaliser of splitmix64: Steele, Lea & Flood 2014); one to one."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hide(batch: Batch, hidden: Tensor, statistics: GeneStatistics, recipe: Recipe, wants: frozenset[Want]) -> Batch:
    """The batch as a model sees it with entries hidden; its library size is the visible one.

    batch: holds counts and the whole library size. hidden: mask (cells, genes).
    """
    assert batch.counts is not None, "asked for by the caller"
    counts = batch.counts
    library = batch.library_size - (counts * hidden).sum(1)
    visible = counts.masked_fill(hidden, 0)
    seen: dict[str, Any] = {"entries": entries_of(visible)} if "entries" in wants else {}
    seen |= normalise(visible, library, statistics, recipe, wants)
    say_nothing(seen, hidden if batch.measured is None else hidden | ~batch.measured, statistics)
    fields: dict[str, Any] = {**dict.fromkeys(EXPRESSION), "library_size": library, **seen}
    return replace(batch, **fields)


def conditioned(expected: Tensor, counts: Tensor, hidden: Tensor) -> Tensor:
    """Expected counts (cells, genes) of a model that saw only a part, given how many counts it saw.

    A count model shares the counts that it sees among all genes, hidden ones included. Multiplied by what is visible
    over what it expects to be visible, they are those of a cell as deep as this one.
    """
    seen, foreseen = (x.masked_fill(hidden, 0).sum(1, keepdim=True) for x in (counts, expected))
    return expected * torch.where(foreseen > 0, seen / foreseen, 1.0)
