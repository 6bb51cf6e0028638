"""What a trained model says: embeddings of cells and genes, reconstructed expression."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sclamp.core.errors import UserError
from sclamp.core.files import sha256
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.inputs import Inputs, read_inputs
from sclamp.data.stream import cut
from sclamp.models.base import Model
from sclamp.train.agreement import SCHEMA, agreement_table, spaced
from sclamp.train.checkpoint import Loaded
from sclamp.types import Batch

_INPUTS = ("counts", "lognorm", "scaled")


def inputs_of(loaded: Loaded, path: Path) -> Inputs:
    """The cells of a counts file as the model reads them: its genes, scaled by its own statistics.

    Errors: genes that the file lacks, other covariates; a transductive model and a file that it was not fitted to.
    """
    known = loaded.provenance.get("inputs", {}).values()
    if loaded.model.transductive and sha256(path) not in known:
        raise UserError(
            f"{path}: is not the file that the model was fitted to, and mode '{loaded.model.settings.mode}' knows only "
            "the cells of that file."
        )
    return with_statistics(read_inputs(path, loaded.model.data), loaded)


def with_statistics(inputs: Inputs, loaded: Loaded) -> Inputs:
    """The same cells, scaled by the statistics of the model's training cells."""
    return replace(inputs, mean=loaded.statistics.mean.numpy(), std=loaded.statistics.std.numpy())


def embed_cells(model: Model, batches: Batches) -> np.ndarray:
    """Embedding of all cells in file order, (cells, latent) float32."""
    with torch.no_grad():
        parts = [model.embed_cells(batch).float().cpu() for batch in batches.batches(None)]
    return torch.cat(parts).numpy()


def embed_genes(model: Model) -> np.ndarray | None:
    """Embedding of the model's genes, (genes, latent) float32; None for a model without a gene side."""
    with torch.no_grad():
        genes = model.embed_genes()
    return None if genes is None else genes.float().cpu().numpy()


def reconstruction_table(model: Model, batches: Batches) -> pa.Table:
    """Agreement of reconstruction and measurement on the test cells, in the model's input space.

    Without test cells on the validation cells; no rows for a model that does not reconstruct.
    """
    inputs = batches.inputs
    split = "test" if len(inputs.rows("test")) else "val"
    rows = inputs.rows(split)
    if split == "val":
        print("reconstruction: there are no test cells; measured on the validation cells", file=sys.stderr)
    if len(chosen := spaced(rows, inputs.n_genes)) < len(rows):
        print(f"reconstruction: measured on {len(chosen)} of {len(rows)} {split} cells", file=sys.stderr)
    pairs = list(_pairs(model, batches, chosen))
    if not pairs:
        return SCHEMA.empty_table()
    measured, reconstructed = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return agreement_table(measured, reconstructed, inputs.cell_ids[chosen], model.data.gene_ids)


def _pairs(model: Model, batches: Batches, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with torch.no_grad():
        for batch in batches.of(cut(rows, EVALUATION_ROWS)):
            reconstructed = model.reconstruct(batch)
            if reconstructed is None:
                return
            yield _measured(model, batch).cpu().numpy(), reconstructed.float().cpu().numpy()


def _measured(model: Model, batch: Batch) -> Tensor:
    name = next(name for name in _INPUTS if name in model.wants())
    value: Tensor = getattr(batch, name)
    return value
