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
}
"""Column -> Arrow type of every score table."""


Cells = Literal["all", "held_out"]
RUN = ["dataset", "model", "seed", "cells", "task", "metric"]
"""What names a score; each occurs once."""


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

    schema = _schema()
    tables = [table.cast(schema) for _, table in read_columns(paths, schema.names)]
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    demand_once(table, "--scores", "score")
    order = pc.sort_indices(
        table.append_column("row", pa.array(range(table.num_rows))),
        sort_keys=[(name, "ascending") for name in [*RUN[:-1], "row"]],
    )
    return table.take(order)


def read_columns(paths: Iterable[str | Path], columns: list[str]) -> list[tuple[str | Path, pa.Table]]:
    """Path and table of these columns for each file; the missing columns of all files are one error."""
    tables, problems = [], []
    for path in paths:
        table = read_table(path)
        missing = [name for name in columns if name not in table.column_names]
        problems += [f"{path}: " + unknown("column", name, table.column_names) for name in missing]
        if not missing:
            tables.append((path, table.select(columns).replace_schema_metadata(None)))
    if problems:
        raise UserError(*problems)
    return tables


def demand_once(table: pa.Table, option: str, what: str) -> None:
    """Stop when a table with the columns RUN names a score twice."""
    import pyarrow.compute as pc

    sizes = table.group_by(RUN).aggregate([([], "count_all")])
    twice = sizes.filter(pc.greater(sizes["count_all"], 1)).slice(0, 1).select(RUN).to_pylist()
    if twice:
        name = ", ".join(f"{k} {v}" for k, v in twice[0].items())
        raise UserError(f"{option}: a {what} occurs more than once ({name}); give each score file once.")
