"""Settings of the sciLaMA family (Hu et al., ICML 2025): paired VAEs of cells and genes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sclamp.config.base import Name, TrainingSettings


class BetaVAESettings(TrainingSettings):
    """The cell VAE alone (mode `beta_vae`); also the first phase of `stepwise`."""

    mode: Literal["beta_vae"] = "beta_vae"
    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the model reads and reconstructs."""
    hidden_dims: tuple[int, ...] = Field((900, 400), min_length=1)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent_dim: int = Field(50, ge=1)
    """Dimensions of the latent space."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer."""
    batch_norm: bool = False
    """BatchNorm in hidden layers."""
    layer_norm: bool = True
    """LayerNorm (without affine parameters) in hidden layers."""
    linear_skip: bool = False
    """Encoders and decoders add a linear map of their input to what their hidden layers make."""
    input_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of its inputs that an encoder does not see, drawn anew in each step."""
    activation: str = "LeakyReLU"
    """Name of an activation of torch.nn."""
    var_eps: float = Field(1e-4, ge=0)
    """Added to the posterior variance."""
    encoder_covariates: bool = True
    """The encoder reads the covariates too; the decoder always does."""
    covariate_effects: bool = False
    """Each covariate column shifts each gene by a learned amount, taken off before the encoder and added at the end."""
    beta_start: float = Field(0.0, ge=0)
    """Weight of the KL term before the warm-up."""
    beta_end: float = Field(1.0, ge=0)
    """Weight of the KL term after the warm-up; validation always uses it."""
    epochs_before_beta_warmup: int = Field(25, ge=0)
    """Last epoch (from 0) that still uses beta_start."""
    beta_warmup_rate: float = Field(0.05, ge=0)
    """Growth of beta per epoch of the warm-up."""


class JointSettings(BetaVAESettings):
    """Cells and genes trained together (modes `direct`, `stepwise`, `self_informed`)."""

    mode: Literal["direct", "stepwise", "stepwise_genes", "self_informed"] = "direct"  # type: ignore[assignment]
    gene_priors: tuple[Name, ...] = Field((), min_length=0)
    """Gene priors that the gene VAE reads; several are fused."""
    fusion: Literal["average", "moe", "poe", "precision_weighted"] = "average"
    """How the posteriors of several gene priors become one."""
    gamma: float = Field(0.05, ge=0)
    """Weight of the reconstruction from the product of the two latents."""
    joint_scale: Literal["rsqrt_width", "reference"] = "rsqrt_width"
    """rsqrt_width divides each product of decoders or latents by the square root of its width."""
    prior_scaling: Literal["none", "standardised"] = "none"
    """standardised centres each gene prior and brings it to unit variance before the gene encoder."""
    gene_residual: float | None = Field(None, ge=0)
    """Each gene adds its own loadings to those read off its gene prior, shrunk towards zero by this weight on their
    sum of squares per training cell: the more cells, the more a gene may differ from its prior. null adds none."""
