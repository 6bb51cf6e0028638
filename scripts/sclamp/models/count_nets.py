"""Networks of the VAEs of counts: layers that read covariates, the encoder, and what stands for the batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sclamp.config.count_vae import CountVAESettings
from sclamp.models.blocks import activation_class, before_batch_norm, linear
from sclamp.models.losses import kl_to_standard_normal
from sclamp.models.posterior import Draw, Gaussian
from sclamp.models.whole_batch import BatchNorm, Dropout
from sclamp.types import DataSpec


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32 where autocasting made it narrower."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def covariate_bias(covariates: int, outputs: int, dims: Sequence[int], activation: str) -> nn.Sequential:
    """Covariates (n, c) to a bias (n, outputs), by hidden layers of these widths; linear without any."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([covariates, *dims]):
        layers += [linear(before, after), activation_class(activation)()]
    last = nn.Linear([covariates, *dims][-1], outputs, bias=False)
    nn.init.xavier_normal_(last.weight)
    return nn.Sequential(*layers, last)


@dataclass(frozen=True)
class NetStyle:
    """How the hidden layers of one side look, and the width of the covariates that it reads (0: none)."""

    norm: str
    dropout: float
    activation: str
    covariates: int
    covariate_layers: str
    covariate_bias_dims: tuple[int, ...]


class ConditionedLayer(nn.Module):
    """A linear map with a bias read off the covariates, then norm, activation and dropout: (n, inputs) -> (n, outputs).

    The bias without hidden layers is the linear map of covariates that were concatenated to the inputs.
    """

    def __init__(self, inputs: int, outputs: int, style: NetStyle, conditioned: bool) -> None:
        super().__init__()
        first = linear(inputs, outputs)
        self.linear = before_batch_norm(first) if style.norm == "batch" else first
        self.bias = None
        if conditioned and style.covariates:
            self.bias = covariate_bias(style.covariates, outputs, style.covariate_bias_dims, style.activation)
        norms = {
            "batch": lambda: BatchNorm(outputs, momentum=0.01, eps=1e-3),  # as in scvi-tools
            "layer": lambda: nn.LayerNorm(outputs, elementwise_affine=False),
            "none": nn.Identity,
        }
        self.norm: nn.Module = norms[style.norm]()
        self.after = nn.Sequential(activation_class(style.activation)(), Dropout(style.dropout))

    def forward(self, x: Tensor, covariates: Tensor) -> Tensor:
        """See the class; covariates (n, c) may have no column."""
        y = self.linear(x)
        return self.after(self.norm(y if self.bias is None else y + self.bias(covariates)))


class ConditionedNet(nn.Module):
    """Hidden layers one after another, widths (d0, d1, ..., dn): (m, d0) -> (m, dn)."""

    def __init__(self, widths: Sequence[int], style: NetStyle) -> None:
        super().__init__()
        sizes = enumerate(itertools.pairwise(widths))
        self.layers = nn.ModuleList(
            ConditionedLayer(a, b, style, number == 0 or style.covariate_layers != "first") for number, (a, b) in sizes
        )

    def forward(self, x: Tensor, covariates: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers:
            x = layer(x, covariates)
        return x


def net_style(settings: CountVAESettings, side: str, covariates: int) -> NetStyle:
    """Style of the encoder's or the decoder's hidden layers."""
    encoder = side == "encoder"
    return NetStyle(
        norm=settings.encoder_norm if encoder else settings.decoder_norm,
        dropout=settings.dropout if encoder else settings.decoder_dropout,
        activation=settings.activation,
        covariates=covariates,
        covariate_layers=settings.covariate_layers,
        covariate_bias_dims=settings.covariate_bias_dims,
    )


class CountEncoder(nn.Module):
    """Log counts (n, genes) and covariates (n, c) -> a diagonal Gaussian, with std = sqrt(exp(s) + var_eps)."""

    def __init__(self, settings: CountVAESettings, n_genes: int, n_covariates: int) -> None:
        super().__init__()
        style = net_style(settings, "encoder", n_covariates * settings.encoder_covariates)
        self.input_dropout = Dropout(settings.input_dropout)
        self.net = ConditionedNet([n_genes, *settings.hidden_dims], style)
        self.mean = linear(settings.hidden_dims[-1], settings.latent_dim)
        self.log_variance = linear(settings.hidden_dims[-1], settings.latent_dim)
        self.var_eps = settings.var_eps

    def forward(self, log_counts: Tensor, covariates: Tensor) -> Gaussian:
        """Posterior of each cell, (n, latent)."""
        h = self.net(self.input_dropout(log_counts), covariates)
        mean, log_variance = full_precision(self.mean(h)), full_precision(self.log_variance(h))
        return Gaussian(mean, (log_variance.exp() + self.var_eps).sqrt())


class Conditions(nn.Module):
    """Encoded covariates as the networks read them: a cell's batch, then everything else.

    A cell of an unknown or missing batch, whose batch columns are all zero, is read as an equal part of every batch,
    so that it gets the mean of what the known batches have. width: columns of the result.
    """

    def __init__(self, settings: CountVAESettings, data: DataSpec) -> None:
        super().__init__()
        self.first, self.last = data.batch_columns
        self.n_batches = self.last - self.first
        self.sampled = settings.batch_embedding_sampled
        rest = data.covariates.width - self.n_batches
        if settings.batch_representation == "embedding":
            if not self.n_batches:
                raise ValueError("batch_representation: 'embedding' needs the batch among the covariates; it is not")
            self.embedding = nn.Parameter(torch.eye(self.n_batches, settings.batch_embedding_dim))
            gaussian = self.sampled or settings.batch_embedding_kl > 0
            self.log_std = nn.Parameter(torch.zeros_like(self.embedding)) if gaussian else None
            self.width = settings.batch_embedding_dim + rest
        else:
            self.register_parameter("embedding", None)
            self.log_std = None
            self.width = self.n_batches + rest

    def shares(self, covariates: Tensor) -> Tensor:
        """How much of each batch a cell is read as, (n, batches); rows sum to 1."""
        columns = covariates[:, self.first : self.last]
        unknown = (columns == 0).all(1, keepdim=True)
        return torch.where(unknown, 1 / max(self.n_batches, 1), columns)

    def forward(self, covariates: Tensor, draw: Draw | None = None) -> Tensor:
        """(n, c) -> (n, width); `draw` is used only where vectors of batches are sampled."""
        if not self.n_batches:
            return covariates
        batch = self.shares(covariates)
        if self.embedding is not None:
            mean, std = self._gaussian(batch)
            batch = mean if draw is None or not self.sampled else mean + std * draw(mean)
        return torch.cat([batch, covariates[:, : self.first], covariates[:, self.last :]], 1)

    def kl(self, covariates: Tensor) -> Tensor:
        """KL divergence of the vector of each cell's batch from N(0, 1) in nats, (n,)."""
        return kl_to_standard_normal(*self._gaussian(self.shares(covariates)))

    def _gaussian(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        assert self.embedding is not None, "asked only where batches are embedded"
        mean = shares @ self.embedding
        return mean, torch.ones_like(mean) if self.log_std is None else shares @ (self.log_std.exp() + 1e-5)
