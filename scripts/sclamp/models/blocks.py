"""Multi-layer perceptrons and Gaussian encoders that several families share."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from sclamp.models.posterior import Gaussian
from sclamp.models.whole_batch import BatchNorm, Dropout


def activation_class(name: str) -> type[nn.Module]:
    """Class of torch.nn's activation called `name`; ValueError with the nearest valid name if there is none."""
    known = [n for n in nn.modules.activation.__all__ if n not in {"MultiheadAttention", "Softmax2d", "Threshold"}]
    if name in known:
        return getattr(nn, name)
    folded = {n.lower(): n for n in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.0)
    raise ValueError(f"activation: '{name}' is not an activation of torch.nn; the nearest is '{folded[close[0]]}'")


@dataclass(frozen=True)
class LayerStyle:
    """How hidden layers look: a linear map, then BatchNorm, LayerNorm, activation and dropout, as far as wanted.

    linear_skip: encoders and decoders add a linear map of their inputs to what their hidden layers make.
    input_dropout: share of an encoder's inputs that are hidden from it. of_cells: rows are cells, which processes share
    out among them, not genes, which each has.
    """

    activation: str = "LeakyReLU"
    dropout: float = 0.0
    batch_norm: bool = False
    layer_norm: bool = False
    linear_skip: bool = False
    input_dropout: float = 0.0
    of_cells: bool = True

    def batch_norm_layer(self, width: int) -> nn.Module:
        """BatchNorm of rows (n, width)."""
        return BatchNorm(width) if self.of_cells else nn.BatchNorm1d(width)

    def dropout_layer(self, rate: float) -> nn.Module:
        """Dropout of rows (n, k)."""
        return Dropout(rate) if self.of_cells else nn.Dropout(rate)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map with Xavier-normal weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def before_batch_norm(layer: nn.Linear) -> nn.Linear:
    """The layer with its bias at rest.

    BatchNorm takes it off again, so that its gradient is nothing but rounding. Adam makes full steps of that: another
    path on every machine and number of processes, after which the running means, and validation, lag.
    """
    layer.bias.requires_grad_(False)
    return layer


def hidden_layer(inputs: int, outputs: int, style: LayerStyle) -> nn.Sequential:
    """One hidden layer, (n, inputs) -> (n, outputs)."""
    first = linear(inputs, outputs)
    layers: list[nn.Module] = [before_batch_norm(first) if style.batch_norm else first]
    if style.batch_norm:
        layers.append(style.batch_norm_layer(outputs))
    if style.layer_norm:
        layers.append(nn.LayerNorm(outputs, elementwise_affine=False))
    layers.append(activation_class(style.activation)())
    if style.dropout > 0:
        layers.append(style.dropout_layer(style.dropout))
    return nn.Sequential(*layers)


class FCNN(nn.Sequential):
    """Hidden layers one after another: widths (d0, d1, ..., dn) map (m, d0) -> (m, dn). One width: the identity."""

    def __init__(self, widths: Sequence[int], style: LayerStyle) -> None:
        super().__init__(*(hidden_layer(a, b, style) for a, b in itertools.pairwise(widths)))


def skip_connection(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """A linear map past hidden layers; `gain` is the initial size of its output for inputs of unit variance."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=gain * inputs**-0.5)
    return layer


class GaussianEncoder(nn.Module):
    """(n, inputs) -> a diagonal Gaussian over the latent space, with std = sqrt(exp(s) + var_eps).

    The mean is that of the hidden layers plus, with a linear skip, a linear map of the inputs.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], latent: int, style: LayerStyle, var_eps: float) -> None:
        super().__init__()
        self.input_dropout = style.dropout_layer(style.input_dropout)
        self.hidden = FCNN([inputs, *hidden], style)
        self.mean = linear(hidden[-1], latent)
        self.log_variance = linear(hidden[-1], latent)
        self.skip = skip_connection(inputs, latent, 0.06) if style.linear_skip else None
        self.var_eps = var_eps

    def forward(self, x: Tensor) -> Gaussian:
        """Posterior of each row of `x`."""
        x = self.input_dropout(x)
        h = self.hidden(x)
        mean = self.mean(h) if self.skip is None else self.mean(h) + self.skip(x)
        return Gaussian(mean, (self.log_variance(h).exp() + self.var_eps).sqrt())


class FactorDecoder(nn.Module):
    """(n, inputs) -> (n, hidden[0]): the mirrored hidden layers of an encoder, the last one a bare linear map.

    Its output is one factor of a product with per-gene loadings, hence neither normalised nor activated.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], style: LayerStyle) -> None:
        super().__init__()
        widths = [inputs, *reversed(hidden)]
        self.hidden = FCNN(widths[:-1], style)
        self.factors = linear(widths[-2], widths[-1])
        self.skip = skip_connection(inputs, widths[-1], 0.6) if style.linear_skip else None

    def forward(self, z: Tensor) -> Tensor:
        """Factors of each row of `z`."""
        factors = self.factors(self.hidden(z))
        return factors if self.skip is None else factors + self.skip(z)

    def product(self, left: Tensor, z: Tensor) -> Tensor:
        """Multiply by the factors: left @ factors(z).T, (m, h) and (n, inputs) -> (m, n), without the (n, h) factors.

        The last layers are linear, so `left` goes through them instead: far fewer operations where m << n.
        """
        last = self.factors
        product = (left @ last.weight) @ self.hidden(z).T + (left @ last.bias).unsqueeze(1)
        return product if self.skip is None else product + (left @ self.skip.weight) @ z.T
