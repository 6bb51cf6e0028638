"""The score table: its columns, writing and reading it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table, write_table
from sclamp.types import Score

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "dataset": "string",
    "model": "string",
    "seed": "int64",
    "cells": "string",
    "task": "string",
    "metric": "string",
    "implementation": "string",
    "value": "float64",
    "status": "string",
    "reason": "string",
    "seconds": "float64",
}
"""Column -> Arrow type of every score table."""


Cells = Literal["all", "held_out"]


class Row(NamedTuple):
    """A score and what it was computed on. cells: "all", or "held_out": those that did not train the model."""

    cells: Cells
    task: str
    score: Score


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def write_scores(
    path: str | Path, dataset: str, model: str, seed: int, rows: Iterable[Row], provenance: dict[str, Any]
) -> None:
    """Write the scores of one run."""
    import pyarrow as pa

    records = [
        {"dataset": dataset, "model": model, "seed": seed, "cells": row.cells, "task": row.task, **vars(row.score)}
        for row in rows
    ]
    write_table(path, pa.Table.from_pylist(records, schema=_schema()), provenance)


def read_scores(paths: Iterable[str | Path]) -> pa.Table:
    """Read score tables as one, sorted by run; unknown or missing columns and repeated scores are errors."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tables, problems, schema = [], [], _schema()
    for path in paths:
        table = read_table(path)
        missing = [name for name in schema.names if name not in table.column_names]
        problems += [f"{path}: " + unknown("column", name, table.column_names) for name in missing]
        if not missing:
            tables.append(table.select(schema.names).cast(schema).replace_schema_metadata(None))
    if problems:
        raise UserError(*problems)
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    run = ["dataset", "model", "seed", "cells", "task"]
    key = [*run, "metric"]
    counts = table.group_by(key).aggregate([("value", "count")])
    if counts.num_rows < table.num_rows:
        sizes = table.group_by(key).aggregate([([], "count_all")])
        twice = sizes.filter(pc.greater(sizes["count_all"], 1)).slice(0, 1).select(key).to_pylist()[0]
        name = ", ".join(f"{k} {v}" for k, v in twice.items())
        raise UserError(f"--scores: a score occurs more than once ({name}); give each score file once.")
    order = pc.sort_indices(
        table.append_column("row", pa.array(range(table.num_rows))),
        sort_keys=[(name, "ascending") for name in [*run, "row"]],
    )
    return table.take(order)
