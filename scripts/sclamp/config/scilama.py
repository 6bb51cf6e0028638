"""Settings of the sciLaMA family (Hu et al., ICML 2025): paired VAEs of cells and genes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sclamp.config.base import Name, TrainingSettings

PUBLISHED: dict[str, Any] = {
    "hidden_dims": (900, 400),
    "dropout": 0.1,
    "linear_skip": False,
    "input_dropout": 0.0,
    "encoder_covariates": True,
    "covariate_effects": False,
    "beta_end": 1.0,
    "epochs_before_beta_warmup": 25,
    "beta_warmup_rate": 0.05,
    "learning_rate": 1e-3,
    "max_epochs": 500,
}
"""Values with which `BetaVAESettings` trains the published model."""

PUBLISHED_JOINT: dict[str, Any] = PUBLISHED | {
    "gene_dropout": 0.1,
    "gamma": 0.05,
    "joint_scale": "reference",
    "prior_scaling": "none",
    "gene_residual": None,
}
"""Values with which `JointSettings` trains the published model; its MoE and PoE are `fusion: precision_weighted`.

Two differences stay: validation uses posterior means, and dropout reaches the factors of joint modes too.
"""


class BetaVAESettings(TrainingSettings):
    """The cell VAE alone (mode `beta_vae`); also the first phase of `stepwise`."""

    mode: Literal["beta_vae"] = "beta_vae"
    max_epochs: int = Field(300, ge=1)
    """Upper limit of passes over the training cells; a thousand cells need nearly all of them."""
    learning_rate: float = Field(2e-3, gt=0)
    """AdamW's step size in the first epoch."""
    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the model reads and reconstructs."""
    hidden_dims: tuple[int, ...] = Field((256, 128), min_length=1)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent_dim: int = Field(50, ge=1)
    """Dimensions of the latent space."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout after each hidden layer of the cell side, and on the factors that a cell's decoder returns."""
    batch_norm: bool = False
    """BatchNorm in hidden layers."""
    layer_norm: bool = True
    """LayerNorm (without affine parameters) in hidden layers."""
    linear_skip: bool = True
    """Encoders (to their mean) and decoders add a linear map of their input to what their hidden layers make."""
    input_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the genes that the encoder of cells does not see, drawn anew for each cell and step."""
    activation: str = "LeakyReLU"
    """Name of an activation of torch.nn."""
    var_eps: float = Field(1e-4, ge=0)
    """Added to the posterior variance."""
    encoder_covariates: bool = False
    """The encoder reads the covariates too; the decoder always does."""
    covariate_effects: bool = True
    """Each covariate column shifts each gene by a learned amount, taken off before the encoder and added at the end."""
    beta_start: float = Field(0.0, ge=0)
    """Weight of the KL term before the warm-up."""
    beta_end: float = Field(2.0, ge=0)
    """Weight of the KL term after the warm-up; validation always uses it. 2 makes the loss twice the negative ELBO of
    a Gaussian likelihood of unit variance, which is what scaled expression has."""
    epochs_before_beta_warmup: int = Field(10, ge=0)
    """Last epoch (from 0) that still uses beta_start."""
    beta_warmup_rate: float = Field(0.1, ge=0)
    """Growth of beta per epoch of the warm-up."""


class JointSettings(BetaVAESettings):
    """Cells and genes trained together (modes `direct`, `stepwise`, `self_informed`)."""

    mode: Literal["direct", "stepwise", "stepwise_genes", "self_informed"] = "direct"  # type: ignore[assignment]
    gene_priors: tuple[Name, ...] = Field((), min_length=0)
    """Gene priors that the gene VAE reads; several are fused."""
    prior_controls: tuple[Literal["shuffled", "gaussian", "onehot", "none"], ...] = ()
    """The same model is also trained with such priors in place of its own, and compared; none is the mode without a
    gene side."""
    fusion: Literal["average", "moe", "poe", "precision_weighted"] = "average"
    """How the posteriors of several gene priors become one."""
    gamma: float = Field(0.1, ge=0)
    """Weight of the reconstruction from the product of the two latents."""
    joint_scale: Literal["rsqrt_width", "reference"] = "rsqrt_width"
    """rsqrt_width divides each product of decoders or latents by the square root of its width."""
    gene_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout after each hidden layer of the gene side."""
    prior_scaling: Literal["none", "standardised"] = "standardised"
    """standardised centres each gene prior and brings it to unit variance before the gene encoder."""
    gene_residual: float | None = Field(30.0, ge=0)
    """Each gene adds its own loadings to those read off its gene prior, shrunk towards zero by this weight on their
    sum of squares per training cell: the more cells, the more a gene may differ from its prior. null adds none."""
