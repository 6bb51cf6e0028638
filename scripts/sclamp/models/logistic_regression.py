"""Multinomial logistic regression with a Laplace prior."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from sclamp.config.classifiers import LogisticRegressionSettings
from sclamp.models.classifier import LinearClassifier, check_labels
from sclamp.types import DataSpec


class LogisticRegression(LinearClassifier):
    """P(label) = softmax(W x + b) (mode `logistic_regression`); the embedding of a cell is its logits.

    n times the loss, plus (weights x log 2s), is the loss of Cellarium ML's LogisticRegression on the same batch.
    """

    def __init__(self, settings: LogisticRegressionSettings, data: DataSpec) -> None:
        """ValueError: fewer than two labels."""
        check_labels("logistic_regression", data.labels)
        super().__init__(settings, data, range(len(data.labels)), len(data.labels))

    def errors(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `LinearClassifier`; -log P(label)."""
        return cross_entropy(logits, target, reduction="none")

    def class_probabilities(self, logits: Tensor) -> Tensor:
        """See `LinearClassifier`."""
        return logits.softmax(1)
