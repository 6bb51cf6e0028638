"""Settings of the contrastive encoder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sclamp.config.base import TrainingSettings


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, found {bounds[0]} and {bounds[1]}")
    return bounds


Unit = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[tuple[Unit, Unit], AfterValidator(_ascending)]
Scale = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ascending)]


class ContrastiveSettings(TrainingSettings):
    """A contrastive encoder (mode `contrastive`): two augmented views of a cell are to be alike."""

    mode: Literal["contrastive"] = "contrastive"
    input: Literal["scaled", "lognorm"] = "scaled"
    """Expression that the encoder reads; augmentations come before scaling."""
    hidden_dims: tuple[int, ...] = Field((256,), min_length=1)
    """Widths of the hidden layers."""
    latent_dim: int = Field(50, ge=2)
    """Dimensions of the embedding."""
    batch_norm: bool = True
    """BatchNorm in hidden layers, over both views of all cells of the batch."""
    temperature: float = Field(0.2, gt=0)
    """Similarities are divided by this; the lower, the more the nearest negatives count."""
    embedding: Literal["normalised", "raw"] = "normalised"
    """What embeds a cell: the encoder's output at length one, as it is compared in training, or as it is."""
    binomial: Share = (0.3, 1.0)
    """Bounds of the share of a cell's counts that is kept: each count is, with this probability."""
    binomial_probability: Unit = 0.8
    """Probability that counts of a view are thinned."""
    gaussian: Scale = (0.0, 0.3)
    """Bounds of the standard deviation of noise on log-normalised expression."""
    gaussian_probability: Unit = 0.5
    """Probability that a view gets noise."""
    dropped: Share = (0.0, 0.5)
    """Bounds of the share of a cell's genes that are set to zero."""
    dropped_probability: Unit = 0.5
    """Probability that genes of a view are set to zero."""
    augmentation_of: Literal["cell", "entry"] = "cell"
    """Whether a value between the bounds is drawn for each cell, or, as published, for each of its genes anew (which
    leaves all cells augmented alike)."""
    max_epochs: int = Field(100, ge=1)
    """Upper limit of passes over the training cells."""

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        changes = (
            self.binomial_probability * (1 - self.binomial[0]),
            self.gaussian_probability * self.gaussian[1],
            self.dropped_probability * self.dropped[1],
        )
        if not any(changes):
            raise ValueError(
                "no augmentation can change a cell: at least one of binomial, gaussian and dropped needs a probability "
                "above 0 and bounds that do something"
            )
        return self
