"""Settings that every VAE of counts has (modes `scvi` and `gene_nb`)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sclamp.config.base import TrainingSettings

Norm = Literal["batch", "layer", "none"]


class CountVAESettings(TrainingSettings):
    """A VAE of raw counts: encoder, decoder, likelihood, what it knows of batches, weight of the KL divergence."""

    max_epochs: int = Field(300, ge=1)
    """Upper limit of passes over the training cells."""
    learning_rate_decay: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate after each epoch."""
    patience: int = Field(45, ge=1)
    """Validations without improvement after which training stops; counted from the end of the warm-up."""
    hidden_dims: tuple[int, ...] = Field((128,), min_length=1)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent_dim: int = Field(10, ge=1)
    """Dimensions of the latent space."""
    latent: Literal["normal", "ln"] = "normal"
    """Distribution of latents: normal, or ln for logistic-normal, whose embedding is shares that sum to 1."""
    likelihood: Literal["nb", "zinb", "poisson"] = "nb"
    """Distribution of counts: negative binomial, the same with extra zeros, or Poisson."""
    dispersion: Literal["gene", "gene-batch", "gene-label", "gene-cell"] = "gene"
    """What has an inverse dispersion of its own: each gene, each gene in each batch or label, or each gene in each
    cell, read off the decoder. Poisson has none."""
    link: Literal["softmax", "softplus"] = "softmax"
    """From the decoder to mean counts: softmax shares out the library size among the genes; softplus makes each gene's
    mean by itself, times the library size per gene as the cell's size factor."""
    library: Literal["genes", "cell"] = "genes"
    """Library size of a cell: its counts of the model's genes, or of all genes that were measured. It is at least 1."""
    activation: str = "ReLU"
    """Name of an activation of torch.nn."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout after each hidden layer of the encoder."""
    decoder_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout after each hidden layer of the decoder."""
    input_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the genes that the encoder does not see in training, drawn anew for each cell and step."""
    encoder_norm: Norm = "batch"
    """Normalisation in the encoder's hidden layers: BatchNorm, LayerNorm without parameters, or none."""
    decoder_norm: Norm = "batch"
    """The same in the decoder."""
    var_eps: float = Field(1e-4, ge=0)
    """Added to the posterior variance."""
    encoder_covariates: bool = False
    """The encoder reads the covariates too; the decoder always does."""
    covariate_layers: Literal["first", "hidden", "all"] = "all"
    """Layers that read the covariates: the first, all hidden ones, or the decoder's last too, by which each covariate
    shifts each gene."""
    covariate_bias_dims: tuple[int, ...] = ()
    """Hidden widths of the networks that turn covariates into a bias of each layer; none makes them linear, which is
    the same as concatenating the covariates to the layer's input."""
    batch_representation: Literal["onehot", "embedding"] = "onehot"
    """What the layers read of the batch: a 0/1 column each, or a learned vector."""
    batch_embedding_dim: int = Field(5, ge=1)
    """Dimensions of the learned vectors of batches."""
    batch_embedding_sampled: bool = False
    """The vectors of batches are drawn from learned Gaussians in training; their means are used everywhere else."""
    batch_embedding_kl: float = Field(0.0, ge=0)
    """Weight of the KL divergence of these Gaussians from N(0, 1), within the warm-up of all KL terms."""
    prior: Literal["normal", "flow"] = "normal"
    """Prior of latents: N(0, 1), or a neural spline flow (Durkan et al. 2019) learned with the model."""
    flow_transforms: int = Field(3, ge=1)
    """Transformations of the flow."""
    flow_hidden_dims: tuple[int, ...] = (64, 64)
    """Hidden widths of the flow's networks."""
    kl_weight: float = Field(1.0, ge=0)
    """Weight of the KL divergence of latents after the warm-up; validation always uses it."""
    kl_start: float = Field(0.0, ge=0, le=1)
    """Share of all KL weights with which the warm-up starts."""
    kl_warmup_epochs: int | None = Field(None, ge=0)
    """Epochs in which the KL weights grow to their final value; null for a sixth of max_epochs, unless the warm-up is
    given in steps."""
    kl_warmup_steps: int | None = Field(None, ge=0)
    """The same in optimiser steps; null for a warm-up in epochs."""

    @property
    def warmup_epochs(self) -> int | None:
        """Epochs of the warm-up; None for a warm-up in steps."""
        if self.kl_warmup_steps is not None:
            return None
        return self.max_epochs // 6 if self.kl_warmup_epochs is None else self.kl_warmup_epochs

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kl_warmup_epochs is not None and self.kl_warmup_steps is not None:
            raise ValueError(
                f"kl_warmup_epochs ({self.kl_warmup_epochs}) and kl_warmup_steps ({self.kl_warmup_steps}) are both "
                "given; expected one of them, null for the other"
            )
        gaussian = self.batch_embedding_sampled or self.batch_embedding_kl > 0
        if gaussian and self.batch_representation == "onehot":
            raise ValueError(
                "batch_embedding_sampled and batch_embedding_kl are about learned vectors of batches; expected "
                "batch_representation: embedding with them, found onehot"
            )
        if self.likelihood == "poisson" and self.dispersion != "gene":
            raise ValueError(f"dispersion: '{self.dispersion}' has no meaning for likelihood 'poisson'; leave it out")
        return self
