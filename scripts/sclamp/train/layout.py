"""The file names and columns of the sciLaMA reference, for programs that read those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sclamp.core.files import write_table

# mode -> what the reference calls the cells' and the genes' file
_NAMES: dict[str, tuple[str | None, str | None]] = {
    "beta_vae": ("beta_vae", None),
    "direct": ("direct_sciLaMA", "direct_sciLaMA"),
    "stepwise_genes": (None, "intermediate"),
    "stepwise": ("stepwise_sciLaMA", "stepwise_sciLaMA"),
}


def write_scilama_layout(
    folder: Path,
    mode: str,
    cells: tuple[Any, np.ndarray],
    genes: tuple[Any, np.ndarray] | None,
    provenance: dict[str, Any],
) -> list[Path]:
    """Write sample_embeddings_* and feature_embeddings_* (ids, list<double>); nothing for modes it does not have.

    cells, genes: ids and (n, latent) arrays. Returns the files that were written.
    """
    of_cells, of_genes = _NAMES.get(mode, (None, None))
    written = []
    for kind, name, column, embedding in (
        ("sample", of_cells, "sample_id", cells),
        ("feature", of_genes, "gene_id", genes),
    ):
        if name is None or embedding is None:
            continue
        ids, matrix = embedding
        lists = pa.array(matrix.astype(np.float64).tolist(), pa.list_(pa.float64()))
        written.append(folder / f"{kind}_embeddings_{name}.parquet")
        write_table(written[-1], pa.table({column: pa.array(ids, pa.string()), "embedding": lists}), provenance)
    return written
