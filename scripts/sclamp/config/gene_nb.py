"""Settings of mode `gene_nb`: a VAE of counts whose gene weights are read off gene priors, plus a residual per gene."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sclamp.config.base import Name
from sclamp.config.count_vae import CountVAESettings


class GeneNBSettings(CountVAESettings):
    """A VAE of raw counts with a gene side (mode `gene_nb`)."""

    mode: Literal["gene_nb"] = "gene_nb"
    learning_rate: float = Field(4e-3, gt=0)
    """AdamW's step size in the first epoch."""
    gene_priors: tuple[Name, ...] = Field((), min_length=0)
    """Gene priors that weights and bias of genes are read off; without any, the residual is all there is."""
    prior_controls: tuple[Literal["shuffled", "gaussian", "onehot", "none"], ...] = ()
    """The same model is also trained with such priors in place of its own, and compared; none has residuals alone."""
    fusion: Literal["sum", "product"] = "sum"
    """How several gene priors work together. sum: each has a function of its own with a learned variance, and they add
    up, so that a prior which says nothing is silenced. product: genes are alike that are alike in all of them."""
    kernel: Literal["smooth", "linear"] = "smooth"
    """How alike two genes are by a prior's vectors. smooth: exp(-(1 - cosine) / kernel_width), for any function that
    changes slowly; linear: their cosine, for linear functions."""
    kernel_width: float = Field(0.35, gt=0)
    """Distance (1 - cosine) over which a smooth function may change; unrelated genes are about 1 apart."""
    residual: Literal["shared", "gene", "none"] = "shared"
    """What a gene's weights add to those read off its priors, shrunk by a learned variance: one for all genes, or one
    for each, drawn towards a common value. none: priors alone."""
    covariate_layers: Literal["first", "hidden", "all"] = "hidden"
    """Layers that read the covariates: the first, all hidden ones, or the decoder's last too, by which each covariate
    shifts each gene, unshrunk."""
    batch_bias: bool = True
    """Each gene has a bias in each batch, shrunk by a learned variance."""
    alignment: Literal["none", "adversary", "mmd"] = "none"
    """What pulls the latents of the batches together. adversary: a classifier of batches whose gradient is reversed
    (Ganin et al. 2016); mmd: the maximum mean discrepancy between batches (Gretton et al. 2012)."""
    alignment_weight: float = Field(1.0, gt=0)
    """Weight of the alignment, in nats per cell."""
    batchwise_encoder_norm: bool = False
    """BatchNorm in the encoder uses means and deviations of each batch of the data by itself."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.residual == "none" and not self.gene_priors:
            raise ValueError("residual: none leaves no gene weights without gene_priors; expected shared or gene")
        if self.batchwise_encoder_norm and self.encoder_norm != "batch":
            raise ValueError(f"batchwise_encoder_norm is a BatchNorm; found encoder_norm: '{self.encoder_norm}'")
        if self.batch_representation != "onehot":
            keys = [key for key in ("batch_bias", "batchwise_encoder_norm") if getattr(self, key)]
            if keys:
                named = " and ".join(f"{key}: true" for key in keys)
                raise ValueError(f"batch_representation: embedding does not go with {named}; expected onehot, or false")
        return self
