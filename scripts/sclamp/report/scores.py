"""The scores that exist, whether or not they were gathered into one table already."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sclamp.core.files import read_table
from sclamp.plot.scoreboard import COLUMNS, Board
from sclamp.report.plan import Plan


def read_scores(plan: Plan) -> pd.DataFrame:
    """The summary table; where it is missing or older than some run's scores, the tables of the runs themselves."""
    parts = [
        path
        for run in plan.runs(*plan.scored, *plan.controls)
        for path in sorted((run.folder / "scores").glob("*.parquet"))
    ]
    summary = plan.results / "summary/scores.parquet"
    if summary.is_file() and all(path.stat().st_mtime <= summary.stat().st_mtime for path in parts):
        table = read_table(summary).to_pandas()
        return table[table["model"].isin([*plan.scored, *plan.controls]) & table["dataset"].isin(plan.datasets)]
    tables = [_read(path) for path in parts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def _read(path: Path) -> pd.DataFrame:
    return read_table(path).to_pandas()


def remarks(board: Board) -> list[str]:
    """Why some scores have no value, and where scores of models are not of one kind: a sentence each."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in board.rows:
        for column, cell in zip(board.columns, row.cells, strict=True):
            if cell.state in {"not_applicable", "failed", "partial"} and cell.reason:
                state = "failed" if cell.state == "partial" else cell.state.replace("_", " ")
                found.setdefault((column.shown.title, state, cell.reason), []).append(row.model)
    together: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (title, state, reason), models in found.items():
        together.setdefault((state, reason, tuple(models)), []).append(title)
    everyone = len(board.rows)
    lines = [
        f"{', '.join(titles)}: {state} for {'every model' if len(models) == everyone else ', '.join(models)}: "
        f"{reason.rstrip('.')}."
        for (state, reason, models), titles in together.items()
    ]
    mixed = [c for c in board.columns if c.shown.group == "aggregate" and len(c.implementations) > 1]
    lines += [f"{c.shown.title} is not one mean for all models: {'; or '.join(c.implementations)}." for c in mixed]
    return lines
