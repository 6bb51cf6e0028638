"""Harmony (Korsunsky et al., Nature Methods 2019) on principal components, by the package harmonypy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sclamp.config.linear import HarmonySettings
from sclamp.models.base import ClosedFormModel, Stream
from sclamp.models.pca import PCA
from sclamp.types import Batch, DataSpec, Want

SEED = 0
"""Seed of Harmony's k-means."""


class Harmony(ClosedFormModel):
    """Batch-corrected principal components of all cells, validation and test cells among them (mode `harmony`).

    Batches that no training cell belongs to count as one. Transductive: there is no function of expression, only
    the table `embedding` (cells, k) in the order of the file.
    """

    transductive = True
    embedding: Tensor

    def __init__(self, settings: HarmonySettings, data: DataSpec) -> None:
        """ValueError: more components than genes."""
        super().__init__(settings, data)
        self.pca = PCA(settings, data)
        self.pca.fitted_to = None
        self.register_buffer("embedding", torch.zeros(0, settings.latent_dim))

    def wants(self) -> frozenset[Want]:
        """See `Model`."""
        return self.pca.wants()

    def fit(self, stream: Stream) -> None:
        """See `ClosedFormModel`; ValueError: cells of a single batch, which leaves nothing to correct."""
        self.pca.fit(stream)
        parts = [(self.pca.embed_cells(batch), batch.batch) for batch in stream.batches(None)]
        coordinates = torch.cat([z for z, _ in parts])
        batches = torch.cat([codes for _, codes in parts]).cpu().numpy()
        if len(np.unique(batches)) < 2:
            raise ValueError(
                "harmony: all cells are of one batch, so there is nothing to correct; name a batch column with at "
                "least two values (datasets.NAME.batch), or leave this model out"
            )
        corrected = self._corrected(coordinates.double().cpu().numpy(), batches)
        self.embedding = torch.from_numpy(corrected.astype(np.float32)).to(coordinates.device)

    def embed_cells(self, batch: Batch) -> Tensor:
        """Rows of the table, (cells, k); ValueError for cells that were not there when it was fitted."""
        n = len(self.embedding)
        if len(batch.rows) and int(batch.rows.max()) >= n:
            raise ValueError(
                f"harmony: is transductive: it knows the {n} cells that it was fitted to and cannot embed others"
            )
        return self.embedding.index_select(0, batch.rows)

    def summary(self) -> dict[str, float]:
        """See `PCA`."""
        return self.pca.summary()

    def _corrected(self, coordinates: np.ndarray, batches: np.ndarray) -> np.ndarray:
        from harmonypy import run_harmony

        n_cells = len(coordinates)
        result = run_harmony(
            coordinates,
            {"batch": batches},
            ["batch"],
            theta=self.settings.theta,
            nclust=int(max(2, min(round(n_cells / 30), 100))),
            max_iter_harmony=self.settings.max_iterations,
            verbose=False,
            random_state=SEED,
        )
        return np.asarray(result.Z_corr).reshape(n_cells, -1)
