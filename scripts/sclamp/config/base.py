"""The base of every section of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]


class Section(BaseModel):
    """A section of config.yaml: unknown keys are errors, values are checked, defaults stand here and only here."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ModelSettings(Section):
    """Settings that every mode has."""

    mode: str
    genes: Name = "hvg"
    """Gene selection that the model reads."""


class TrainingSettings(ModelSettings):
    """Settings of every model that is trained by gradients."""

    max_epochs: int = Field(200, ge=1)
    """Upper limit of passes over the training cells."""
    batch_size: int = Field(128, ge=2)
    """Cells per optimiser step, over all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    """AdamW's step size in the first epoch."""
    learning_rate_decay: float = Field(0.99, gt=0, le=1)
    """Factor on the learning rate after each epoch."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    gradient_clip: float | None = Field(None, gt=0)
    """Largest gradient norm, or null for none."""
    patience: int = Field(25, ge=1)
    """Validations without improvement after which training stops; counted from the end of the warm-up."""
    min_delta: float = Field(0.0, ge=0)
    """Smallest decrease of the validation loss that counts as improvement."""
    validate_every: int = Field(1, ge=1)
    """Epochs between two validations."""
    monitor: bool = False
    """Note at each validation what the embedding of the validation cells is like: whether cell types lie as in the Cell
    Ontology, how far apart batches are, how well a classifier reads the cell types and how far off its errors are."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one; cuda fails where there is none."""
    cpu_fallback: bool = False
    """Train on the CPU where there is a GPU that torch cannot use. Without it such a training stops, because it could
    be slow for days unnoticed; a machine without GPUs needs no permission."""
    out_of_memory: Literal["accumulate", "stop"] = "accumulate"
    """When memory runs out in a step: accumulate repeats it in halves, quarters, ... whose gradients add up to those of
    the whole batch, with the same noise and dropout, so that it is the same step but for rounding; from there on all
    batches are done so, and the bytes of the model differ from those of a training with enough memory. stop ends with
    advice. Models that look at a batch as a whole (BatchNorm, `contrastive`, `gene_nb`) stop in any case."""
    precision: Literal["32", "bf16"] = "32"
    """bf16 computes matrix products in bfloat16; parameters and sums stay in float32."""
