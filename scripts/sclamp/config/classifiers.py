"""Settings of classifiers: logistic regression, and logistic regression over the Cell Ontology."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sclamp.config.base import TrainingSettings


class ClassifierSettings(TrainingSettings):
    """Settings of every classifier."""

    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the classifier reads, where it reads no embedding."""
    embedding_of: str | None = Field(None, min_length=1)
    """Model of this configuration whose embedding of the cells is read instead of expression: a probe. The embedding is
    standardised on the training cells."""
    learning_rate: float = Field(1e-2, gt=0)
    """AdamW's step size in the first epoch; embeddings of few dimensions need large steps."""
    prior_scale: float | None = Field(1.0, gt=0)
    """Scale of the Laplace prior of the weights, or null for none; the smaller, the more weights near zero."""
    init_scale: float = Field(0.01, gt=0)
    """Standard deviation of the weights before training. Large ones are slow to unlearn."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced gives every class the same say, however many cells it has."""
    top_k: int = Field(3, ge=1)
    """Likeliest classes that are listed for each cell."""


class LogisticRegressionSettings(ClassifierSettings):
    """Multinomial logistic regression with a Laplace prior (mode `logistic_regression`)."""

    mode: Literal["logistic_regression"] = "logistic_regression"


class SOCAMSettings(ClassifierSettings):
    """Classification over the Cell Ontology: a cell of a type is one of all its ancestors too (mode `socam`)."""

    mode: Literal["socam"] = "socam"
    label_terms: dict[str, str | None] = Field(default_factory=dict)
    """Labels of the dataset whose name the Cell Ontology does not know: label -> CL id (or name), or null for cells
    that count as unlabelled."""
    propagate: bool = True
    """Give each term the probability of all terms below it; false makes the terms exclusive."""
    loss: Literal["plain", "reference"] = "plain"
    """plain is the log probability of the label's term; reference (with `propagate`) divides it by the sum of the
    probabilities of all terms, though these do not exclude one another."""
    confidence: float = Field(0.8, gt=0, lt=1)
    """Probability that the reported ancestor must have: the most specific term that is at least so probable."""
