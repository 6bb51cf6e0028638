"""Scores of resampled cells, as the scripts that score an embedding leave them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sclamp.core.errors import UserError
from sclamp.evaluate.rows import COLUMNS, RUN, demand_once, read_columns

if TYPE_CHECKING:
    import pandas as pd


class Resampled(NamedTuple):
    """Resampled scores. keys: n rows with the columns RUN. samples (n, b): resample j drew the same cells in all."""

    keys: pd.DataFrame
    samples: np.ndarray


def read_resampled(paths: Iterable[str | Path]) -> Resampled:
    """Read tables of resampled scores as one; rows without resamples are left out.

    Errors: missing columns, repeated scores, different numbers of resamples: they could not be paired.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys, samples, first = [], [], None
    for path, table in read_columns(paths, [*RUN, "replicates"]):
        table = table.filter(pc.greater(pc.fill_null(pc.list_value_length(table["replicates"]), 0), 0))
        for length in pc.unique(pc.list_value_length(table["replicates"])).to_pylist():
            first = first or (path, length)
            if length != first[1]:
                raise UserError(
                    f"--replicates: {first[0]} has {first[1]} resamples of a score, {path} has {length}; they can be "
                    "paired only where all have the same number. Make them anew with one evaluate.bootstrap."
                )
        keys.append(table.select(RUN))
        samples.append(np.asarray(pc.list_flatten(table["replicates"]), dtype=np.float64))
    width = first[1] if first else 0
    schema = pa.schema([(name, pa.type_for_alias(COLUMNS[name])) for name in RUN])
    together = pa.concat_tables([table.cast(schema) for table in keys]) if keys else schema.empty_table()
    demand_once(together, "--replicates", "resampled score")
    return Resampled(together.to_pandas(), np.concatenate([np.empty(0), *samples]).reshape(len(together), width))
