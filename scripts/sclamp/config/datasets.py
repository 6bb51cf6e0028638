"""Settings of a dataset: where the counts are, what the columns mean, quality control, splits, covariates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sclamp.config.base import Section


class QualityControl(Section):
    """Thresholds below or above which cells and genes are left out."""

    min_counts: int = Field(1, ge=0)
    """Least counts of a cell."""
    min_genes: int = Field(0, ge=0)
    """Least genes seen in a cell."""
    max_genes: int | None = Field(None, ge=1)
    """Most genes seen in a cell, or null."""
    max_mito_share: float | None = Field(None, gt=0, le=1)
    """Largest share of mitochondrial counts, or null."""
    mito_prefix: str = "MT-"
    """Start of the names of mitochondrial genes (upper or lower case)."""
    min_cells: int = Field(3, ge=0)
    """Least cells in which a gene is seen."""


class Split(Section):
    """Which cells train the model, which choose the checkpoint, which only score it."""

    column: str | None = None
    """obs column that holds the split; null makes a split by `strategy`."""
    train: str = "train"
    """Value of `column` for training cells."""
    val: str = "val"
    """Value of `column` for validation cells."""
    test: str | None = "test"
    """Value of `column` for test cells, or null for none."""
    strategy: Literal["stratified", "random", "hold_out"] = "stratified"
    """stratified keeps the shares of the labels; hold_out keeps whole batches (or groups) apart."""
    val_share: float = Field(0.1, gt=0, lt=1)
    """Share of cells for validation (strategy hold_out: of the cells that are not held out)."""
    test_share: float = Field(0.2, ge=0, lt=1)
    """Share of cells for testing (strategy hold_out without `hold_out`: groups are drawn until they hold it)."""
    group: str | None = None
    """obs column whose values are held out as a whole (strategy hold_out); null takes the batch column."""
    hold_out: tuple[str, ...] = ()
    """Values of the group column that become the test cells (strategy hold_out)."""
    seed: int = 0
    """Seed of the split."""

    @model_validator(mode="after")
    def _shares_leave_training_cells(self) -> Split:
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share + test_share = {self.val_share + self.test_share:g} leaves no training cells")
        return self


class CovariateColumns(Section):
    """obs columns that models are conditioned on."""

    categorical: tuple[str, ...] | None = None
    """Categorical columns; null means the batch column where there is one."""
    continuous: tuple[str, ...] = ()
    """Continuous columns, standardised on the training cells."""


class Normalization(Section):
    """How counts become model inputs; computed on the fly."""

    target_sum: float = Field(1e4, gt=0)
    """Counts per cell after scaling."""
    log1p: bool = True
    """Take log(1 + x) after scaling."""
    clip: float | None = Field(10.0, gt=0)
    """Largest absolute z-score of scaled input, or null."""


class Dataset(Section):
    """One annotated single-cell data set."""

    path: str | tuple[str, ...]
    """File, folder or https address; several are joined on their genes. Formats: .h5ad, 10x .h5, 10x MTX folder."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Expected digest of the file; required for an https address."""
    counts: str = Field("X", pattern="^(X|raw|layers/.+)$")
    """Where the raw counts are: X, raw, or layers/NAME."""
    fractions: Literal["error", "round"] = "error"
    """Counts that are not whole, as estimated by Salmon, kallisto or RSEM, or corrected for UMIs: an error, or rounded.
    Normalised values are an error in any case."""
    gene_ids: str | None = None
    """var column with gene identifiers; null takes the var index."""
    gene_symbols: str | None = None
    """var column with gene symbols, where the identifiers are not symbols; null takes `symbol` where there is one."""
    join: Literal["inner", "outer"] = "inner"
    """Genes of several files: inner keeps those that all have, outer keeps every gene (each file is a gene panel)."""
    absent_genes: Literal["unmeasured", "zero"] = "unmeasured"
    """Genes that a file lacks (join outer; new data): unmeasured, or zero if files list only the genes they saw."""
    label: str | None = None
    """obs column with cell types; needed by scores that compare with labels."""
    batch: str | None = None
    """obs column with batches."""
    pseudotime: str | None = None
    """obs column with a pseudotime of the uncorrected data, for the conservation of trajectories."""
    covariates: CovariateColumns = CovariateColumns()
    quality: QualityControl = QualityControl()
    normalization: Normalization = Normalization()
    split: Split = Split()

    @property
    def paths(self) -> tuple[str, ...]:
        """The path or paths as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def categorical_covariates(self) -> tuple[str, ...]:
        """Categorical covariates after filling in the default."""
        if self.covariates.categorical is not None:
            return self.covariates.categorical
        return (self.batch,) if self.batch else ()

    @model_validator(mode="after")
    def _digest_for_one_file(self) -> Dataset:
        remote = [p for p in self.paths if p.startswith(("http://", "https://"))]
        if remote and (self.sha256 is None or len(self.paths) > 1):
            raise ValueError(f"'{remote[0]}' is an address: give one address and its sha256")
        if self.sha256 is not None and len(self.paths) > 1:
            raise ValueError(f"sha256 is the digest of one file, and path lists {len(self.paths)}")
        return self
