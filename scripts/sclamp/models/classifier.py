"""What classifiers share: a linear map of expression or of an embedding, a Laplace prior, class weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sclamp.config.classifiers import ClassifierSettings
from sclamp.models.base import GradientModel
from sclamp.models.count_nets import full_precision
from sclamp.types import Batch, DataSpec, Progress, Want


class LinearClassifier(GradientModel):
    """Logits = W x + b of `outputs` classes or terms, fitted to the labels by maximum a posteriori.

    Loss: the mean over labelled cells of their error, plus |W|_1 / (s n) for a Laplace(0, s) prior of the weights and n
    labelled training cells. That is the negative log posterior, over n and up to a constant. Cells without a label have
    no part in it: a batch counts its labelled cells' errors over all its cells, and the known share of labelled cells
    makes the mean over an epoch that over labelled cells, however they fall into batches.
    """

    schedules: tuple[str, ...] = ()
    settings: ClassifierSettings
    targets: Tensor
    labelled_share: Tensor
    output_weight: Tensor

    def __init__(self, settings: ClassifierSettings, data: DataSpec, targets: Sequence[int], outputs: int) -> None:
        """targets: the output that each label of `data` means, -1 for none.

        ValueError: an embedding that is to be read and not there.
        """
        super().__init__(settings, data)
        if settings.embedding_of and not data.embedding_width:
            raise ValueError(f"embedding_of: the embedding by '{settings.embedding_of}' is not among the data")
        self.linear = nn.Linear(data.embedding_width or data.n_genes, outputs)
        nn.init.normal_(self.linear.weight, std=settings.init_scale)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("targets", torch.tensor(list(targets), dtype=torch.int64), persistent=False)
        self.register_buffer("labelled_share", torch.ones(2))  # of training and of validation cells
        self.register_buffer("output_weight", torch.ones(outputs))

    def wants(self) -> frozenset[Want]:
        """Labels, and the embedding of another model or expression."""
        return frozenset({"embedding" if self.data.embedding_width else self.settings.input, "labels"})

    def gene_axes(self) -> dict[str, int]:
        """See `Model`."""
        return {} if self.data.embedding_width else {"linear.weight": 1}

    def see_labels(self, train: Tensor, val: Tensor) -> None:
        """Note how many cells are labelled, and how common each class is.

        ValueError: no labelled training or validation cells, training cells of a single class.
        """
        known = [targets[targets >= 0] for targets in map(self._targets_of, (train, val))]
        for name, cells, labelled in (("training", train, known[0]), ("validation", val, known[1])):
            if len(cells) and not len(labelled):
                raise ValueError(f"label: none of the {len(cells)} {name} cells has one; a classifier learns from them")
        if len(known[0].unique()) == 1:
            raise ValueError(
                f"label: all {len(known[0])} labelled training cells are of one class; at least 2 classes are needed"
            )
        shares = [len(known[0]) / max(len(train), 1), len(known[1]) / max(len(val), 1)]
        self.labelled_share.copy_(torch.tensor(shares))
        if self.settings.class_weights == "balanced":
            counts = self.counts_of(torch.bincount(known[0], minlength=len(self.output_weight)))
            weight = 1 / counts.clamp(min=1).double()
            self.output_weight.copy_(weight / weight[known[0]].mean())

    def counts_of(self, cells: Tensor) -> Tensor:
        """Training cells that belong to each output, from those (outputs,) whose label is that output."""
        return cells

    def logits(self, batch: Batch) -> Tensor:
        """(cells, outputs)."""
        if self.data.embedding_width:
            assert batch.embedding is not None, "the batch holds what `wants` names"
            return full_precision(self.linear(self.z_scored(batch.embedding)))
        x = batch.scaled if self.settings.input == "scaled" else batch.lognorm
        assert x is not None, "the batch holds what `wants` names"
        return full_precision(self.linear(x))

    def embed_cells(self, batch: Batch) -> Tensor:
        """The logits, (cells, outputs)."""
        return self.logits(batch)

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Negative log posterior over n (see the class), its two parts, and the share of labelled cells that are right.

        A batch without labels has no error, and the gradient of the prior.
        """
        assert batch.label is not None, "the batch holds what `wants` names"
        logits = self.logits(batch)
        target = self._targets_of(batch.label)
        at = target.clamp(min=0)
        part = (target >= 0) / (len(batch) * self.labelled_share[int(progress.validation)].clamp(min=1e-9))
        cross_entropy = (part * self.output_weight[at] * self.errors(logits, at)).sum()
        right = self.targets[self.class_probabilities(logits.detach()).argmax(1)] == at
        prior = self.negative_log_prior()
        parts = {"loss": cross_entropy + prior, "cross_entropy": cross_entropy, "prior": prior}
        return {**parts, "accuracy": (part * right).sum()}

    def negative_log_prior(self) -> Tensor:
        """|W|_1 / (s n), without the constant (weights x log 2s) / n."""
        if self.settings.prior_scale is None:
            return self.linear.weight.new_zeros(())
        n = (self.data.n_cells * self.labelled_share[0]).clamp(min=1)
        return self.linear.weight.abs().sum() / (self.settings.prior_scale * n)

    @abstractmethod
    def errors(self, logits: Tensor, target: Tensor) -> Tensor:
        """Error of each cell, (cells,), given the outputs (cells,) that are right."""

    @abstractmethod
    def class_probabilities(self, logits: Tensor) -> Tensor:
        """Probability of each label, (cells, labels)."""

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """See `Model`: label and label_probability, probability (labels), top_label and top_probability (k)."""
        return self.predict_from(self.logits(batch))

    def predict_from(self, logits: Tensor) -> dict[str, Tensor]:
        """What `predict` returns, given the logits."""
        probability = self.class_probabilities(logits)
        top = probability.topk(min(self.settings.top_k, probability.shape[1]), 1)
        return {
            "label": top.indices[:, 0],
            "label_probability": top.values[:, 0],
            "probability": probability,
            "top_label": top.indices,
            "top_probability": top.values,
        }

    def prediction_columns(self) -> dict[str, tuple[str, ...]]:
        """See `Model`."""
        return {"probability": self.data.labels}

    def _targets_of(self, label: Tensor) -> Tensor:
        """The output that is right for each cell, -1 without a label."""
        return torch.where(label >= 0, self.targets[label.clamp(min=0)], -1)


def check_labels(mode: str, labels: Sequence[str]) -> None:
    """ValueError: no labels, or a single one."""
    if len(labels) < 2:
        found = f"only '{labels[0]}'" if labels else "no labels"
        raise ValueError(
            f"label: mode '{mode}' learns the labels of cells, and the dataset has {found}; name the obs column with "
            "two or more cell types in datasets.NAME.label"
        )
