"""Settings of evaluation, figures, export and resources."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from sclamp.config.base import Section

Control = Literal[
    "pca", "random", "shuffled", "shuffled_within_batch", "shuffled_within_label", "label_onehot", "batch_onehot"
]


class Evaluate(Section):
    """Which scores are computed, and against which controls."""

    controls: tuple[Control, ...] = (
        "pca", "random", "shuffled", "shuffled_within_batch", "shuffled_within_label", "label_onehot", "batch_onehot",
    )  # fmt: skip
    """Embeddings whose score is known in advance, scored like every model; shuffled deals the PCA's rows out anew."""
    neighbors: int = Field(90, ge=3)
    """Neighbours of each cell for LISI; the nearest 15 make the graph."""
    graph_neighbors: int = Field(15, ge=2)
    """Neighbours of each cell in the graph for Leiden, graph connectivity and UMAP."""
    resolutions: tuple[float, ...] = Field((0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0), min_length=1)
    """Leiden resolutions of which the best is taken."""
    seed: int = Field(0, ge=0)
    """Seed of clustering, k-means and resampling."""
    exact_cells: int = Field(50000, ge=100)
    """Up to so many cells scores are exact (but the graph variants of LISI); the table names what is approximated."""
    bootstrap: int = Field(200, ge=0)
    """Resamples of the cells behind each interval; 0 makes none."""
    masked_share: float = Field(0.1, gt=0, lt=1)
    """Share of a test cell's entries that are hidden from the model and then imputed."""
    left_out_genes: float = Field(0.0, ge=0, lt=1)
    """Share of genes that a second training of each model with gene priors never sees, to be predicted from their
    prior alone; 0 leaves this out."""
    gene_terms: str | None = None
    """Annotation of genes that gene modules are tested against: GMT, or TSV with columns term and gene."""


class Figures(Section):
    """How figures look."""

    max_cells: int = Field(20000, ge=100)
    """Most cells drawn on a UMAP."""
    marker_genes: int = Field(3, ge=1)
    """Marker genes shown per cell type."""
    dpi: int = Field(150, ge=50, le=600)
    """Resolution of PNG files."""


class Crate(Section):
    """What `snakemake crate` packs into an RO-Crate for others."""

    models: bool = False
    """Pack checkpoints, too."""
    max_file_mb: float = Field(200.0, gt=0)
    """Larger files are named with their sha256, and stay out."""
    license: str = Field("", pattern=r"^(https?://\S+)?$")
    """Address of the licence of the results, such as https://spdx.org/licenses/CC-BY-4.0."""
    published: datetime.date | None = None
    """Day of publication, such as 2026-12-31; without it that of $SOURCE_DATE_EPOCH, else 1980-01-01 for unknown."""


class Export(Section):
    """File layout of embeddings, and the archive for others."""

    layout: Literal["sclamp", "scilama"] = "sclamp"
    """scilama also writes the file names and columns of the sciLaMA reference."""
    crate: Crate = Crate()
    """What `snakemake crate` packs into an RO-Crate for others."""


class Resources(Section):
    """How jobs run: nothing here changes a result, nor repeats a job. Requests grow with the data and each attempt."""

    threads: int = Field(2, ge=1)
    """Cores of a training or scoring job."""
    gpus: int = Field(1, ge=0)
    """GPUs of a training job where there are any."""
    jobs_per_gpu: int = Field(1, ge=1)
    """Trainings that share one GPU on a local machine."""
    memory_scale: float = Field(1.0, gt=0)
    """Factor on all memory requests."""
    runtime_scale: float = Field(1.0, gt=0)
    """Factor on all time requests."""
    tensorboard: bool = False
    """Write event files for TensorBoard into the folder of each training (docs/watching.md)."""
