"""Settings of mode `scvi`: the VAE of counts of Lopez et al. 2018, with an optional gene prior."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sclamp.config.base import Name
from sclamp.config.count_vae import CountVAESettings


class SCVISettings(CountVAESettings):
    """A VAE of raw counts (mode `scvi`)."""

    mode: Literal["scvi"] = "scvi"
    gene_priors: tuple[Name, ...] = Field((), min_length=0)
    """Gene priors that say what the weights of genes are; none leaves the weights free."""
    prior_controls: tuple[Literal["shuffled", "gaussian", "onehot", "none"], ...] = ()
    """The same model is also trained with such priors in place of its own, and compared; none has free weights."""
    prior_role: Literal["decoder", "decoder_init", "encoder_init"] = "decoder"
    """What gene priors are for. decoder: the last layer's weights are a learned linear map of them plus the gene's own
    (`gene_residual`), so that genes never trained on can be predicted. decoder_init, encoder_init: the initial weights
    of the decoder's last, or the encoder's first layer are alike for genes with like priors."""
    gene_residual: float | None = Field(1.0, ge=0)
    """With prior_role decoder, each gene adds its own weights to those read off its gene prior, shrunk towards zero by
    this weight on their sum of squares per training cell. null adds none."""
