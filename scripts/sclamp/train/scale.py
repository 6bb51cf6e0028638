"""The scale on which measured and reconstructed expression are compared.

A model that reads scaled or log-normalised expression gives it back, and is judged there. A count model gives expected
counts, which are brought to scaled expression like measured counts are, so that its scores stand beside the others'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from sclamp.data.batches import normalise
from sclamp.models.base import Model
from sclamp.types import Batch, GeneStatistics, Recipe

Scale = Literal["counts", "lognorm", "scaled"]


def space(model: Model) -> Scale:
    """What the model gives back: expected counts if it reads counts in any form, else what it reads."""
    wants = model.wants()
    if wants & {"counts", "log_counts", "entries"}:
        return "counts"
    return "lognorm" if "lognorm" in wants else "scaled"


def compared_on(model: Model) -> Scale:
    """The scale on which the model's reconstruction is judged."""
    return "scaled" if space(model) == "counts" else space(model)


def on_scale(scale: Scale, counts: Tensor, library_size: Tensor, statistics: GeneStatistics, recipe: Recipe) -> Tensor:
    """Measured or expected counts (cells, genes) on a scale, as model inputs are made; negative ones are read as 0."""
    copy = counts.float().clamp_min(0)  # normalise() may work in place
    return normalise(copy, library_size, statistics, recipe, frozenset({scale}))[scale]


def measured(model: Model, batch: Batch, statistics: GeneStatistics, recipe: Recipe) -> Tensor:
    """The batch's expression on the scale that the model is judged on; a count model's batch holds counts."""
    scale = compared_on(model)
    value: Tensor | None = getattr(batch, scale)
    if value is not None:
        return value
    assert batch.counts is not None, "asked for by the caller"
    return on_scale(scale, batch.counts, batch.library_size, statistics, recipe)


def comparable(
    model: Model, expression: Tensor, library_size: Tensor, statistics: GeneStatistics, recipe: Recipe
) -> Tensor:
    """What the model gives back, (cells, genes), on the scale that it is judged on."""
    if space(model) != "counts":
        return expression
    return on_scale("scaled", expression, library_size, statistics, recipe)


def lognorm_of(
    model: Model, expression: Tensor, library_size: Tensor, statistics: GeneStatistics, recipe: Recipe
) -> Tensor:
    """What the model gives back, (cells, genes), as log-normalised expression."""
    kind = space(model)
    if kind == "scaled":
        return expression * statistics.std + statistics.mean
    if kind == "lognorm":
        return expression
    return on_scale("lognorm", expression, library_size, statistics, replace(recipe, clip=None))
