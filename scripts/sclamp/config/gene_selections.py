"""Settings of a gene selection: a named choice of genes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sclamp.config.base import Section


class GeneSelection(Section):
    """Which genes a model reads."""

    flavor: Literal["seurat_v3", "seurat_v3_paper", "seurat", "cell_ranger", "all", "list"] = "seurat_v3"
    """Method: highly variable genes (as in scanpy), all genes, or a given list."""
    n_genes: int = Field(2000, ge=1)
    """Number of highly variable genes."""
    batch_aware: bool = True
    """Rank genes within each batch and combine the ranks."""
    span: float = Field(0.3, gt=0, le=1)
    """Share of genes in each local regression (seurat_v3 flavors)."""
    cells: Literal["train", "all"] = "train"
    """Cells whose counts decide."""
    genes: tuple[str, ...] = ()
    """Gene identifiers (flavor list)."""
    file: str | None = None
    """Text file with one gene identifier a line (flavor list)."""

    @model_validator(mode="after")
    def _list_needs_genes(self) -> GeneSelection:
        if (self.flavor == "list") != bool(self.genes or self.file):
            raise ValueError("flavor 'list' takes `genes` or `file`, and only it does")
        return self
