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
    further_n_genes: tuple[int, ...] = ()
    """Further numbers of genes, ranked in the same pass: columns selected_N, rank_N, n_batches_N of the table."""
    batch_aware: bool = True
    """Rank genes within each batch and combine the ranks."""
    min_cells_per_batch: int = Field(2, ge=2)
    """Cells below which a batch does not count."""
    min_batches: int = Field(1, ge=1)
    """Batches in whose top a gene must be (with batch_aware)."""
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

    @model_validator(mode="after")
    def _further_numbers(self) -> GeneSelection:
        if self.further_n_genes and not self.variable:
            raise ValueError(f"flavor '{self.flavor}' ranks no genes, so `further_n_genes` has no meaning")
        if len(set(self.numbers)) < len(self.numbers) or min(self.numbers) < 1:
            raise ValueError("`further_n_genes` takes numbers from 1, each once and none equal to `n_genes`")
        return self

    @model_validator(mode="after")
    def _batches_of_one(self) -> GeneSelection:
        if self.min_batches > 1 and not self.batch_aware:
            raise ValueError(f"min_batches: {self.min_batches}, but with batch_aware: false all cells are one batch")
        return self

    @property
    def variable(self) -> bool:
        """Whether the genes are chosen for being variable."""
        return self.flavor not in {"all", "list"}

    @property
    def numbers(self) -> tuple[int, ...]:
        """All numbers of genes; the first is the one that is packed."""
        return (self.n_genes, *self.further_n_genes)
