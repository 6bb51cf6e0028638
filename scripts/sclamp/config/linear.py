"""Settings of the linear baselines: PCA, and Harmony on PCA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sclamp.config.base import ModelSettings


class PCASettings(ModelSettings):
    """Principal components of the training cells (mode `pca`)."""

    mode: Literal["pca"] = "pca"
    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the components are taken of."""
    latent_dim: int = Field(50, ge=1)
    """Number of components."""
    solver: Literal["auto", "covariance", "randomized"] = "auto"
    """Exact components of the covariance of all genes (one pass over the cells), or a randomized iteration that never
    holds it (several passes); `auto` is exact up to 8,192 genes, or as long as genes x cells are below 67 million."""
    oversampling: int = Field(20, ge=0)
    """Directions that the randomized solver follows beyond `latent_dim`; more need more memory and fewer passes."""
    max_passes: int = Field(20, ge=2)
    """Most passes of the randomized solver; it stops earlier when variances are right to about 1e-6."""


class HarmonySettings(PCASettings):
    """Harmony (Korsunsky et al. 2019) on the principal components of all cells (mode `harmony`)."""

    mode: Literal["harmony"] = "harmony"  # type: ignore[assignment]
    theta: float = Field(2.0, ge=0)
    """Strength of the diversity penalty."""
    max_iterations: int = Field(10, ge=1)
    """Most rounds of clustering and correction."""
