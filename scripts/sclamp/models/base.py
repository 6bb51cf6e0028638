"""What every model offers to the rest of the workflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sclamp.types import Batch, DataSpec, Progress, Want


def prior_buffer(name: str, what: str = "") -> str:
    """Name of the buffer with a gene prior, or `what` of it; torch allows no dots there, names of gene priors do."""
    return f"gene_prior_{what}{name.replace('.', '%2E')}"


class Model(nn.Module, ABC):
    """A model of cells, built from validated settings and a `DataSpec`.

    Gene priors are registered as buffers, filled once by `load_gene_priors` and stored in the checkpoint, so that a
    checkpoint alone can embed new cells.

    transductive: True for a model that knows only the cells it was fitted to, and so cannot embed new ones.
    """

    transductive: bool = False

    def __init__(self, settings: Any, data: DataSpec) -> None:
        super().__init__()
        self.settings, self.data = settings, data
        for name, width in data.gene_priors.items():
            self.register_buffer(prior_buffer(name), torch.zeros(data.n_genes, width))
        if data.embedding_width:
            self.register_buffer("embedding_mean", torch.zeros(data.embedding_width))
            self.register_buffer("embedding_std", torch.ones(data.embedding_width))

    def gene_prior(self, name: str) -> Tensor:
        """The (genes, width) matrix of one gene prior."""
        return self.get_buffer(prior_buffer(name))

    def load_gene_priors(self, priors: Mapping[str, Tensor]) -> None:
        """Fill the gene priors; each must be (genes, width), rows in the order of `data.gene_ids`."""
        for name in self.data.gene_priors:
            self.gene_prior(name).copy_(priors[name])

    def scale_embedding(self, embedding: Tensor) -> None:
        """Note mean and deviation of the embedding that the model reads, (training cells, dimensions)."""
        self.get_buffer("embedding_mean").copy_(embedding.double().mean(0))
        std = embedding.double().std(0, correction=0)
        self.get_buffer("embedding_std").copy_(std.where(std > 0, 1.0))

    def z_scored(self, embedding: Tensor) -> Tensor:
        """An embedding (cells, dimensions) in deviations of the training cells from their mean."""
        return (embedding - self.get_buffer("embedding_mean")) / self.get_buffer("embedding_std")

    def see_labels(self, train: Tensor, val: Tensor) -> None:
        """Note what a model needs to know of all labels before it is trained, such as how common they are.

        train, val: (cells,) int64 labels of the training and of the validation cells, -1 for cells without one.
        ValueError: labels that the model cannot be trained on.
        """

    def remarks(self) -> list[str]:
        """Lines for the log of a training about how the model read its settings; each ends with a line break."""
        return []

    def gene_axes(self) -> dict[str, int]:
        """Parameters and buffers whose size follows the genes: name in the state dict -> the axis.

        Along that axis the genes come first, in the order of `data.gene_ids`; covariates may follow. A warm start from
        a model of more genes, or of the same in another order, picks and sorts by this.
        """
        return {}

    def learned_state(self) -> dict[str, Tensor]:
        """The state dict without the gene priors, which never change."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("gene_prior_")}

    @abstractmethod
    def wants(self) -> frozenset[Want]:
        """Fields that a batch must hold."""

    @abstractmethod
    def embed_cells(self, batch: Batch) -> Tensor:
        """Embed cells: (cells, latent), deterministic."""

    def embed_genes(self) -> Tensor | None:
        """Embed genes: (genes, latent), deterministic; None for a model without a gene side."""
        return None

    def reconstruct(self, batch: Batch) -> Tensor | None:
        """Reconstruct the expression that the model read, (cells, genes); None where there is no decoder.

        The scale is that of the model's own input: expected counts where `wants` names counts, log_counts or entries,
        else the first of lognorm, scaled that it names.
        """
        return None

    def reconstruct_as(self, batch: Batch, covariates: Tensor) -> Tensor | None:
        """Reconstruct the cells as if they had been measured under other covariates, (cells, covariates).

        What the cells are is still read off the expression and covariates that they have. The same as `reconstruct`
        for a model whose decoder reads no covariates.
        """
        return self.reconstruct(batch)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """What the model says of each cell, by name: (cells,) or (cells, columns); the embedding if nothing else.

        A class is its position in `data.labels`, or in the names that `prediction_columns` gives to the result.
        """
        return {"embedding": self.embed_cells(batch)}

    def prediction_columns(self) -> dict[str, tuple[str, ...]]:
        """Names of the columns of what `predict` returns, for results whose columns have names."""
        return {}

    def evaluate(self, batches: Iterable[Batch], seed: int) -> dict[str, float]:
        """Further numbers about cells that the model was not trained on, by name, such as their likelihood.

        seed: of whatever is sampled. Where there is nothing to say: none.
        """
        return {}

    def scale_gene_prior(self, name: str, vectors: Tensor) -> Tensor:
        """Vectors (n, width) of any genes, as the model reads those of its own from `gene_prior(name)`."""
        return vectors

    def predict_genes(self, batch: Batch, gene_priors: Mapping[str, Tensor]) -> Tensor | None:
        """Predict genes that the model was not trained on, from their gene priors alone: (cells, new genes).

        gene_priors: vectors (new genes, width) by name, as they come from files. The scale is that of `reconstruct`.
        None for a model that cannot.
        """
        return None


class GradientModel(Model):
    """A model trained by stochastic gradients.

    schedules: parts of the loss's result that are set by the epoch, not measured; the history names them plainly.
    loss_needs_whole_batch: a cell's loss depends on which other cells are in the batch, on all processes
    (`Batch.gather`); then the loss of a batch is not the mean of the losses of its parts, and validation losses hold
    for validation's own batches.
    """

    schedules: tuple[str, ...] = ("beta",)
    loss_needs_whole_batch: bool = False

    @abstractmethod
    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return "loss" (a scalar, a mean over the batch's cells) and the parts that are logged, each a scalar.

        With `batch.noise` absent the result is deterministic (posterior means instead of samples).
        """

    def first_checkpoint_epoch(self) -> int:
        """Epoch (from 0) from which checkpoints and early stopping count; schedules end by then."""
        return 0

    def initialise(self, stream: Stream) -> None:
        """Prepare the parameters by passes over the cells, before the first step; most models need none.

        Not called for a model that starts from another one. ValueError: data that the model cannot be trained on.
        """

    def warm_start(self, source: Mapping[str, Tensor]) -> list[str]:
        """Take over the parameters of another model's state; returns the names that were taken.

        Parameters that are absent from `source` keep their initial value.
        """
        own = self.state_dict()
        taken = [name for name in source if name in own and own[name].shape == source[name].shape]
        self.load_state_dict({name: source[name] for name in taken}, strict=False)
        return taken


class ClosedFormModel(Model):
    """A model with a direct solution: it sees the training cells as a stream, as often as it asks."""

    @abstractmethod
    def fit(self, stream: Stream) -> None:
        """Fit to the data; results are kept in buffers, so that the state dict is the whole model."""

    def summary(self) -> dict[str, float]:
        """Numbers about the fit for the history, such as the explained variance."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state; buffers take the shapes that they have there, since only a fit knows them."""
        for name, value in state_dict.items():
            if name in self._buffers and self._buffers[name] is not None:
                self._buffers[name] = torch.empty_like(value)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


class Stream(ABC):
    """Cells in file order, in batches, as often as a closed-form model wants to pass over them."""

    @abstractmethod
    def batches(self, split: str | None) -> Iterable[Batch]:
        """Iterate over the cells of one split ("train", "val", "test"), or over all of them (None)."""
