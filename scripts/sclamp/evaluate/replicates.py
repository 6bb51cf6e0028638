"""Tables of what is known beyond the scores: replicates over resampled cells, and scores of single cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.files import write_table
from sclamp.evaluate.rows import Cells

Key = tuple[Cells, str, str]
"""What names a score of a run: cells, task, metric."""


def write_replicates(
    path: str | Path,
    dataset: str,
    model: str,
    seed: int,
    replicates: Mapping[Key, np.ndarray],
    provenance: dict[str, Any],
) -> None:
    """Write one row per score that has replicates: dataset, model, seed, cells, task, metric, replicates.

    replicates: key -> values, equally many for each score.
    """
    import pyarrow as pa

    keys = list(replicates)
    columns = {
        "dataset": pa.array([dataset] * len(keys), pa.string()),
        "model": pa.array([model] * len(keys), pa.string()),
        "seed": pa.array([seed] * len(keys), pa.int64()),
        **{
            name: pa.array([key[place] for key in keys], pa.string())
            for place, name in enumerate(("cells", "task", "metric"))
        },
        "replicates": pa.array([replicates[key].tolist() for key in keys], pa.list_(pa.float64())),
    }
    write_table(path, pa.table(columns), provenance)


def write_cell_scores(
    path: str | Path, ids: np.ndarray, scores: Mapping[str, np.ndarray], provenance: dict[str, Any]
) -> None:
    """Write cell_id and a float32 column per score of single cells; NaN where a cell has none."""
    import pyarrow as pa

    columns = {name: pa.array(values, pa.float32(), from_pandas=False) for name, values in scores.items()}
    write_table(path, pa.table({"cell_id": pa.array(ids, pa.string()), **columns}), provenance)
