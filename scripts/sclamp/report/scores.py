"""The scores that exist, gathered into one table already or not, and what is known of their noise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sclamp.core.files import read_table
from sclamp.plot.metrics import describe
from sclamp.plot.scoreboard import COLUMNS, Board
from sclamp.report.plan import Plan

FEW = 6
"""Names in a sentence at most."""


class Scores(NamedTuple):
    """Scores, and the tables of intervals and comparisons that were made of the same scores; None: not made."""

    table: pd.DataFrame
    intervals: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None


def read_scores(plan: Plan) -> Scores:
    """The summary's tables; where they are missing or older than some run's scores, the tables of the runs alone."""
    parts = [
        path
        for run in plan.runs(*plan.scored, *plan.classifiers, *plan.controls)
        for path in sorted((run.folder / "scores").glob("*.parquet"))
    ]
    summary = plan.results / "summary"
    if _is_younger(summary / "scores.parquet", parts):
        table = _read(summary / "scores.parquet")
        models = [*plan.scored, *plan.classifiers, *plan.controls]
        asked = table["model"].isin(models) & table["dataset"].isin(plan.datasets)
        noise = (summary / f"{name}.parquet" for name in ("intervals", "comparisons"))
        return Scores(table[asked], *(_read(path) if _is_younger(path, parts) else None for path in noise))
    tables = [_read(path) for path in parts]
    return Scores(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS)))


def _is_younger(path: Path, parts: list[Path]) -> bool:
    return path.is_file() and all(part.stat().st_mtime <= path.stat().st_mtime for part in parts)


def _read(path: Path) -> pd.DataFrame:
    return read_table(path).to_pandas()


def failed(table: pd.DataFrame) -> list[str]:
    """Scores that failed, those with the same reason together: a sentence each."""
    lost = table[table["status"] == "failed"]
    lines = []
    for (dataset, reason), own in lost.groupby(["dataset", "reason"], sort=False, observed=True):
        titles = list(dict.fromkeys(describe(*key).title for key in zip(own["task"], own["metric"], strict=True)))
        models = list(dict.fromkeys(own["model"]))
        what = f"{', '.join(titles[:FEW])}{f' and {len(titles) - FEW} more' if len(titles) > FEW else ''}"
        whose = ", ".join(models[:FEW]) + (f" and {len(models) - FEW} more" if len(models) > FEW else "")
        lines.append(f"{dataset}: {what} failed for {whose}: {str(reason).rstrip('.')}.")
    return lines


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
