"""Writing neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.files import write_table
from sclamp.evaluate.neighbors import Neighbors


def write_neighbors(
    path: str | Path, ids: np.ndarray, searched: np.ndarray, found: Neighbors, provenance: dict[str, Any]
) -> None:
    """Write cell_id, neighbors (list<int32>, rows of the file), distances (list<float>), nearest first.

    searched (n,) bool: the cells that `found` is about; the others get empty lists.
    """
    import pyarrow as pa

    rows = np.flatnonzero(searched).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(searched * found.k)])
    offsets = pa.array(ends, pa.int32())
    columns = {
        "cell_id": pa.array(ids, pa.string()),
        "neighbors": pa.ListArray.from_arrays(offsets, pa.array(rows[found.indices].ravel(), pa.int32())),
        "distances": pa.ListArray.from_arrays(offsets, pa.array(found.distances.ravel(), pa.float32())),
    }
    write_table(path, pa.table(columns), provenance)
