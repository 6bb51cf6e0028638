"""A few cells and small models of mode scvi for its tests; random, but the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sclamp.config.scvi import SCVISettings
from sclamp.data.batches import entries_of
from sclamp.models.scvi import SCVI
from sclamp.types import Batch, Covariates, DataSpec, Progress

GENES, CELLS = 12, 9
RNG = np.random.default_rng(1)
COUNTS = torch.from_numpy(RNG.poisson(1.5, (CELLS, GENES))).float()
BATCHES = torch.arange(CELLS) % 3
DEPTH = torch.from_numpy(RNG.normal(size=(CELLS, 1))).float()
"""A continuous covariate, encoded before and after the batch's columns: nothing may depend on where these lie."""
VALIDATION, LAST = Progress(0, 10, validation=True), Progress(999, 1000)


def data(priors: dict[str, int] | None = None, batches: int = 3) -> DataSpec:
    categories = tuple(f"b{i}" for i in range(batches))
    categorical = {"kind": ("u", "v"), **({"batch": categories} if batches else {})}
    return DataSpec(
        tuple(f"g{i}" for i in range(GENES)), categories, ("T", "B"), Covariates(categorical, {"depth": (0.0, 1.0)}),
        gene_priors=priors or {}, n_cells=CELLS, batch_columns=(2, 2 + batches) if batches else (0, 0),
    )  # fmt: skip


def batch(counts: Tensor = COUNTS, batches: Tensor = BATCHES, **more: Any) -> Batch:
    """Cells whose covariates are kind, batch, depth; batch -1 is unknown."""
    n = len(counts)
    kind = torch.eye(2)[torch.arange(n) % 2]
    one_hot = torch.where((batches >= 0).unsqueeze(1), torch.eye(3)[batches.clamp_min(0)], 0.0)
    covariates = torch.cat([kind, one_hot, DEPTH[:n]], 1)
    return Batch(
        torch.arange(n), covariates, batches, counts.sum(1) + 5, log_counts=counts.log1p(),
        entries=entries_of(counts), label=torch.arange(n) % 2, **more,
    )  # fmt: skip


def build(seed: int = 0, spec: DataSpec | None = None, **settings: Any) -> SCVI:
    torch.manual_seed(seed)
    model = SCVI(SCVISettings(**{"hidden_dims": (8,), "latent_dim": 3, "batch_size": 4, **settings}), spec or data())
    with torch.no_grad():
        for parameter in model.parameters():  # away from special values such as zero
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def loss_of(model: SCVI, cells: Batch | None = None, progress: Progress = VALIDATION) -> float:
    with torch.no_grad():
        return float(model.loss(cells or batch(), progress)["loss"])
