"""How each training went, in one line per run."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.core.files import read_table
from sclamp.report.plan import Plan


class Training(NamedTuple):
    """One training. kept: epoch whose parameters were kept (from 0); train, val: losses of that epoch."""

    dataset: str
    model: str
    seed: int
    epochs: int
    limit: int | None
    kept: int
    train: float
    val: float


def trainings(plan: Plan) -> list[Training]:
    """Every history.parquet of a model that was trained in epochs."""
    rows = []
    for run in plan.runs(*plan.models):
        path = run.folder / "history.parquet"
        if not path.is_file():
            continue
        table = read_table(path)
        if "train_loss" not in table.column_names or table.num_rows == 0:
            continue
        marked = table["is_best"].to_pylist() if "is_best" in table.column_names else []
        row = max((i for i, best in enumerate(marked) if best), default=table.num_rows - 1)
        losses = [table[c].to_numpy().astype(float)[row] for c in ("train_loss", "val_loss")]
        limit = plan.models[run.model].settings.get("max_epochs")
        kept = int(table["epoch"][row].as_py())
        rows.append(Training(run.dataset, run.model, run.seed, table.num_rows, limit, kept, *losses))
    return rows
