"""Expression of cells as a model of counts sees it: without its noise, and as if other batches had measured them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from sclamp.core.errors import UserError, unknown
from sclamp.data.batches import Batches
from sclamp.models.base import Model
from sclamp.models.count_outputs import (
    as_batches,
    importance_weights,
    log_likelihood,
    normalised_expression,
    posterior_samples,
)
from sclamp.models.count_vae import CountVAE
from sclamp.models.noise import Noise
from sclamp.types import Batch


@dataclass(frozen=True)
class Asked:
    """What to write of each cell.

    genes: ids. batches: names of the batches that cells are shown in, averaged over; None for their own, empty for all.
    samples: of the posterior, 0 for its mean. importance: weigh samples by importance. library_size: sum over all genes
    of the model. seed: of the samples.
    """

    genes: Sequence[str]
    batches: Sequence[str] | None = None
    samples: int = 0
    importance: bool = False
    library_size: float = 1e4
    seed: int = 0


def express(model: Model, batches: Batches, asked: Asked) -> pa.Table:
    """One row per cell: cell_id, log_likelihood (nats, where samples are drawn), one float32 column per gene.

    Errors: a model that is none of counts; genes or batches that it does not know; importance without samples.
    """
    if not isinstance(model, CountVAE):
        raise UserError(f"mode '{model.settings.mode}' has no counts to expect; expected a model of counts, as scvi.")
    known = {gene: i for i, gene in enumerate(model.data.gene_ids)}
    problems = [unknown("gene of the model", gene, known) for gene in asked.genes if gene not in known]
    if asked.importance and not asked.samples:
        problems.append("importance weights are of samples; found 0 samples, expected some, such as 100.")
    if problems:
        raise UserError(*problems)
    if asked.batches is not None:  # names are checked before anything is computed
        as_batches(model.data, torch.zeros(1, model.data.covariates.width), asked.batches or None)
    positions = [known[gene] for gene in asked.genes]
    found = [_of(model, batch, positions, asked) for batch in _noisy(batches, asked.seed)]
    columns: dict[str, pa.Array] = {"cell_id": pa.array(batches.inputs.cell_ids, pa.string())}
    if asked.samples:
        columns["log_likelihood"] = pa.array(np.concatenate([likelihood for likelihood, _ in found]))
    expression = np.concatenate([values for _, values in found])
    columns |= {gene: pa.array(expression[:, i]) for i, gene in enumerate(asked.genes)}
    return pa.table(columns)


def _noisy(batches: Batches, seed: int) -> Iterator[Batch]:
    for number, batch in enumerate(batches.batches(None)):
        batch.noise = Noise(seed, number, 0, len(batch), batches.device)
        yield batch


def _of(model: CountVAE, batch: Batch, genes: Sequence[int], asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        targets = None if asked.batches is None else as_batches(model.data, batch.covariates, asked.batches or None)
        z = posterior_samples(model, batch, asked.samples) if asked.samples else None
        weights = importance_weights(model, batch, z) if z is not None and asked.importance else None
        likelihood = torch.zeros(0) if z is None else log_likelihood(model, batch, z)
        values = normalised_expression(model, batch, genes, targets, z, weights, asked.library_size)
    return likelihood.cpu().numpy(), values.cpu().numpy()
