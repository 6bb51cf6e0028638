"""Settings of the statistics of genes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sclamp.config.base import Section

Share = Annotated[float, Field(gt=0, lt=1)]


class GeneStatisticsSettings(Section):
    """Mean, variance and quantiles of each gene (describe_genes.py)."""

    cells: Literal["train", "all"] = "train"
    """Cells that are described."""
    by_batch: bool = True
    """Mean and variance within each batch, too."""
    quantiles: tuple[Share, ...] = (0.25, 0.75)
    """Quantiles of the counts that are not zero, beside their median."""
    method: Literal["auto", "exact", "t-digest"] = "auto"
    """How quantiles are found: exact, in passes over as many genes as fit in memory; or t-digest, in one pass, with an
    error that the table states; auto is exact as long as `max_passes` do."""
    memory_mb: int = Field(400, ge=1)
    """Memory for the counts whose quantiles are taken at a time."""
    max_passes: int = Field(8, ge=1)
    """Most passes for exact quantiles (method auto)."""
    digest: int = Field(200, ge=0)
    """Most points kept of each gene's distribution, which later merges need; 0 leaves them out. Quantiles of genes with
    no more counts than that stay exact in a merge."""

    @field_validator("quantiles")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value) or 0.5 in value:
            raise ValueError("each quantile is named once, and 0.5 not at all: the median is always there")
        return value
