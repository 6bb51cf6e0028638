"""What a trained model says: embeddings of cells and genes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sclamp.core.errors import UserError
from sclamp.core.files import sha256
from sclamp.data.batches import Batches
from sclamp.data.inputs import Inputs, read_inputs
from sclamp.models.base import Model
from sclamp.train.checkpoint import Loaded


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
