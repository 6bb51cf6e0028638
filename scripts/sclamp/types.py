"""What crosses rooms: the values that data, models, training and evaluation hand to each other.

Importing this module costs nothing: torch appears in annotations only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from sclamp.models.noise import Noise

Split = Literal["train", "val", "test"]
Want = Literal["counts", "log_counts", "entries", "lognorm", "scaled", "labels", "embedding"]


@dataclass(frozen=True)
class Recipe:
    """How counts become model inputs; applied on the fly, never stored as a second matrix.

    lognorm = log1p(counts / library_size * target_sum); scaled = clip((lognorm - mean) / std, +-clip),
    with mean and std of the training cells.
    """

    target_sum: float = 1e4
    log1p: bool = True
    clip: float | None = 10.0


@dataclass(frozen=True)
class Covariates:
    """Covariates as fitted on the training cells.

    categorical: column -> its categories in order; each becomes one 0/1 column, an unseen value all zeros.
    continuous: column -> (mean, std); becomes (value - mean) / std.
    """

    categorical: dict[str, tuple[str, ...]] = field(default_factory=dict)
    continuous: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Columns of the encoded covariate matrix."""
        return sum(len(values) for values in self.categorical.values()) + len(self.continuous)


@dataclass(frozen=True)
class DataSpec:
    """Sizes and names a model is built from; never the matrix itself.

    gene_ids: the model's genes in the order of its inputs. batches, labels: categories seen in training.
    gene_priors: name -> width of each gene prior the model reads. n_cells: number of training cells.
    batch_columns: first and last + 1 of the covariate columns that say the batch; equal where none do.
    embedding_width: dimensions of the embedding that a model reads instead of expression, 0 for none.
    """

    gene_ids: tuple[str, ...]
    batches: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    covariates: Covariates = field(default_factory=Covariates)
    gene_priors: dict[str, int] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    n_cells: int = 0
    batch_columns: tuple[int, int] = (0, 0)
    embedding_width: int = 0

    @property
    def n_genes(self) -> int:
        """Number of genes of the model."""
        return len(self.gene_ids)

    def to_json(self) -> str:
        """Serialise to JSON (see `from_json`)."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DataSpec:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        covariates = Covariates(
            categorical={k: tuple(v) for k, v in raw["covariates"]["categorical"].items()},
            continuous={k: (v[0], v[1]) for k, v in raw["covariates"]["continuous"].items()},
        )
        return cls(
            gene_ids=tuple(raw["gene_ids"]),
            batches=tuple(raw["batches"]),
            labels=tuple(raw["labels"]),
            covariates=covariates,
            gene_priors=raw["gene_priors"],
            recipe=Recipe(**raw["recipe"]),
            n_cells=raw["n_cells"],
            batch_columns=(raw["batch_columns"][0], raw["batch_columns"][1]),
            embedding_width=raw["embedding_width"],
        )


@dataclass(frozen=True)
class GeneStatistics:
    """Mean and standard deviation of each gene's log-normalised expression in the training cells, (genes,) float32."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Entries:
    """The counts of a batch that are not zero, in the order of cells and genes.

    position (m,) int64: cell x genes + gene. count (m,) float32.
    """

    position: Tensor
    count: Tensor


class Gather(Protocol):
    """Brings together the rows of all processes that share a batch; `start` is where this one's cells begin in it.

    Given rows (m x cells, k) of this process, m any number, it returns (m x all cells, k): process after process, hence
    for m = 1 in the order of the batch. Each process calls it as often as the others, in the same order. Gradients flow
    back into the rows of all processes, such that the gradients of losses that are means over each process's own cells,
    averaged by its share of the batch, are those of the loss of the whole batch. The process holds `own` of the `total`
    cells.
    """

    start: int
    own: int
    total: int

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows of all processes."""

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes of values of any shape, the same shape for all; gradients as above."""


@dataclass
class Batch:
    """One minibatch on the model's device. Only the fields that the model's `wants()` names are filled.

    rows (n,) int64: positions in the data file. covariates (n, c) float32. batch, label (n,) int64, -1 = unseen
    or missing. library_size (n,) float32: counts of the whole cell, over the genes of its panel. counts, log_counts
    (log1p of the counts), lognorm, scaled (n, g) float32. entries: the counts that are not zero. embedding (n, d)
    float32: by another model.
    measured (n, g) bool: genes that are on the cell's panel; absent where every cell was measured for every gene. Off
    the panel counts are 0 and say nothing; scaled expression holds 0, lognorm the gene's mean.
    noise: where a model draws random numbers from (absent: it uses means). gather: absent where this process holds the
    whole batch.
    """

    rows: Tensor
    covariates: Tensor
    batch: Tensor
    library_size: Tensor
    counts: Tensor | None = None
    lognorm: Tensor | None = None
    scaled: Tensor | None = None
    label: Tensor | None = None
    log_counts: Tensor | None = None
    entries: Entries | None = None
    embedding: Tensor | None = None
    measured: Tensor | None = None
    noise: Noise | None = None
    gather: Gather | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Progress:
    """Where training stands. epoch and step (of all epochs) count from 0; validation: the loss is only monitored."""

    epoch: int
    max_epochs: int
    validation: bool = False
    step: int = 0


Status = Literal["ok", "not_applicable", "failed"]


@dataclass(frozen=True)
class Score:
    """One number of an evaluation, or the reason why there is none.

    value is NaN exactly when status is not "ok"; reason is empty exactly when it is.
    """

    metric: str
    implementation: str
    value: float
    status: Status = "ok"
    reason: str = ""
