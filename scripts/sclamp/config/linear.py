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


class HarmonySettings(PCASettings):
    """Harmony (Korsunsky et al. 2019) on the principal components of all cells (mode `harmony`)."""

    mode: Literal["harmony"] = "harmony"  # type: ignore[assignment]
    theta: float = Field(2.0, ge=0)
    """Strength of the diversity penalty."""
    max_iterations: int = Field(10, ge=1)
    """Most rounds of clustering and correction."""
