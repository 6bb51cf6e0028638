"""Expression as all cells would show it without their covariates, summed up per batch and gene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.stream import cut
from sclamp.models.base import Model
from sclamp.train.scale import lognorm_of

SCHEMA = pa.schema(
    [("batch", pa.string()), ("gene_id", pa.string()), ("n", pa.int64())]
    + [(name, pa.float64()) for name in ("mean", "variance", "mean_before", "variance_before")]
)


def variability_table(model: Model, batches: Batches, cell_batches: Sequence[str]) -> pa.Table:
    """Mean and variance (n - 1) of log-normalised expression per batch and gene, over the batch's n cells.

    These are the cells that were measured for the gene; values are NaN where there are none.

    mean, variance: of the expression that the model reconstructs under the mean covariates of the training cells, with
    negative values read as zero; mean_before, variance_before: of the measured one. No rows for a model that does not
    reconstruct. batches: with lognorm among what they hold. cell_batches: the batch of each cell of the file.
    """
    names, codes = np.unique(np.asarray(cell_batches, dtype=object).astype(str), return_inverse=True)
    before, after = (_Moments(len(names), model.data.n_genes) for _ in range(2))
    inputs = batches.inputs
    neutral = torch.from_numpy(_mean_covariates(inputs.covariates, inputs.rows("train"))).to(batches.device)
    plan = cut(inputs.rows(None), EVALUATION_ROWS)
    with torch.no_grad():
        for part, batch in zip(plan, batches.of(plan), strict=True):
            found = model.reconstruct_as(batch, neutral.expand(len(batch), -1))
            if found is None:
                return SCHEMA.empty_table()
            assert batch.lognorm is not None, "asked for by the caller"
            before.add(codes[part], batch.lognorm, batch.measured)
            expected = lognorm_of(model, found, batch.library_size, batches.statistics, inputs.recipe)
            after.add(codes[part], expected.clamp_min(0), batch.measured)
    columns = {
        "batch": np.repeat(names, model.data.n_genes),
        "gene_id": np.tile(np.array(model.data.gene_ids, dtype=object), len(names)),
        "n": before.sizes.ravel(),
        **{name: values.ravel() for name, values in zip(("mean", "variance"), after.results(), strict=True)},
        **{f"{name}_before": v.ravel() for name, v in zip(("mean", "variance"), before.results(), strict=True)},
    }
    return pa.table(columns, SCHEMA)


def _mean_covariates(covariates: np.ndarray, train: np.ndarray) -> np.ndarray:
    chosen = covariates[train] if len(train) else covariates
    return chosen.mean(0, dtype=np.float64).astype(np.float32)


class _Moments:
    """Sums per group in float64; a gene without a count keeps a mean of exactly zero."""

    def __init__(self, n_groups: int, n_genes: int) -> None:
        self.sizes = np.zeros((n_groups, n_genes), dtype=np.int64)
        self._total, self._squares = (np.zeros((n_groups, n_genes)) for _ in range(2))

    def add(self, groups: np.ndarray, values: Tensor, measured: Tensor | None) -> None:
        """Add cells (n, genes) of these groups (n,), where they were measured, (n, genes) bool."""
        x = (values if measured is None else values.masked_fill(~measured, 0)).double().cpu().numpy()
        for group in np.unique(groups):
            cells = groups == group
            chosen = x[cells]
            self.sizes[group] += len(chosen) if measured is None else measured.cpu().numpy()[cells].sum(0)
            self._total[group] += chosen.sum(0)
            self._squares[group] += np.square(chosen).sum(0)

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances, (groups, genes); the variance of one cell is NaN."""
        n = np.where(self.sizes > 0, self.sizes, np.nan)
        mean = self._total / n
        return mean, np.maximum(self._squares - n * np.square(mean), 0) / np.where(n > 1, n - 1, np.nan)
