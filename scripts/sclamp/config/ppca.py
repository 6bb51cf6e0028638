"""Settings of probabilistic principal components."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sclamp.config.base import TrainingSettings


class PPCASettings(TrainingSettings):
    """Probabilistic principal components (mode `ppca`; Tipping & Bishop 1999)."""

    mode: Literal["ppca"] = "ppca"
    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the model describes."""
    latent_dim: int = Field(50, ge=1)
    """Number of components; fewer than genes."""
    flavor: Literal["marginalized", "linear_vae"] = "marginalized"
    """marginalized maximises the likelihood of the cells; linear_vae its lower bound, by a posterior with independent
    dimensions, which is as high at the maximum and whose axes are then the principal ones."""
    initialisation: Literal["closed_form", "random"] = "closed_form"
    """closed_form starts at the maximum of the likelihood, found in a pass over the cells, so that training has nothing
    left to do but to follow the validation cells; random starts at small loadings and noise of unit variance."""
    expectation: Literal["exact", "sampled"] = "exact"
    """How linear_vae takes the mean over its posterior: exact, or by one sample per cell and step."""
    embedding: Literal["projection", "posterior_mean"] = "projection"
    """What embeds a cell, along the principal axes: its reconstruction, in which they have the variance of the
    expression, as in `pca`, or, as published, the mean of its latent variables, in which each has about unit variance:
    the last axis then counts as much as the first, and neighbours are lost."""
    max_epochs: int = Field(20, ge=1)
    """Upper limit of passes over the training cells; a random start needs some hundreds."""
    learning_rate: float = Field(1e-4, gt=0)
    """AdamW's step size in the first epoch; a random start needs 0.01."""
    precision: Literal["32", "bf16"] = "32"
    """Likelihoods are computed in float32 all the same."""
