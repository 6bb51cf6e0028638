"""The scale on which measured and reconstructed expression are compared.

A model that reads scaled or log-normalised expression gives it back, and is judged there. A count model gives expected
counts; to stand beside the others it is judged on scaled expression as well. What it expects there is not the logarithm
of the expected count: a gene of which a cell shows one count in ten cases is at .1 log(1 + 1 count), on average, not at
log(1 + .1 counts), which is several times as much. So log-normalised expression is averaged over the counts that may be
seen, which are taken to be Poisson about the expected ones.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sclamp.data.batches import normalise
from sclamp.models.base import Model
from sclamp.types import Batch, GeneStatistics, Recipe

MANY = 20.0
"""Expected counts from which on the mean of their logarithm is taken by its expansion about them."""

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
    """Measured counts (cells, genes) on a scale, as model inputs are made."""
    copy = counts.float().clone()  # normalise() may work in place
    return normalise(copy, library_size, statistics, recipe, frozenset({scale}))[scale]


def expected_lognorm(expected: Tensor, library_size: Tensor, recipe: Recipe) -> Tensor:
    """Mean log-normalised expression (cells, genes) where counts are Poisson about `expected`; negative means are 0."""
    mean = expected.float().clamp_min(0)
    factor = (recipe.target_sum / library_size.clamp(min=1)).unsqueeze(1)
    if not recipe.log1p:
        return mean * factor
    found = torch.empty_like(mean)
    largest = mean.amax(0) if len(mean) else mean.sum(0)
    for rare, n_terms in ((True, 12), (False, 50)):
        genes = ((largest < 1) == rare).nonzero().squeeze(1)
        found[:, genes] = _mean_log(mean.index_select(1, genes), factor, n_terms)
    return found


def _mean_log(mean: Tensor, factor: Tensor, n_terms: int) -> Tensor:
    """E log(1 + factor X) for Poisson X: summed over X up to n_terms, expanded to second order for large means."""
    probability, total = (-mean).exp(), torch.zeros_like(mean)
    for x in range(1, n_terms + 1):
        probability = probability * mean / x
        total = total.addcmul_(probability, torch.log1p(factor * x))
    at_mean = 1 + factor * mean
    return torch.where(mean > MANY, at_mean.log() - 0.5 * mean * (factor / at_mean).square(), total)


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
    z = (expected_lognorm(expression, library_size, recipe) - statistics.mean) / statistics.std
    return z if recipe.clip is None else z.clamp(-recipe.clip, recipe.clip)


def lognorm_of(
    model: Model, expression: Tensor, library_size: Tensor, statistics: GeneStatistics, recipe: Recipe
) -> Tensor:
    """What the model gives back, (cells, genes), as log-normalised expression."""
    kind = space(model)
    if kind == "scaled":
        return expression * statistics.std + statistics.mean
    if kind == "lognorm":
        return expression
    return expected_lognorm(expression, library_size, recipe)
