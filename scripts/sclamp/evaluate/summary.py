"""The ranking: totals over seeds, and the controls that a model does not beat."""

from __future__ import annotations

from typing import Any

import pandas as pd

CONTROL = "control_"
"""Start of the names of control runs."""
CEILING = "control_label_onehot"
"""It is given the labels; to stay below it is no fault."""


def rank_models(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per dataset, set of cells and model, best mean total first.

    Columns: dataset, cells, model, seeds (with a value), total_mean, total_std (NaN for one seed), below_control:
    names of the controls with a higher mean total, joined by commas; empty for none.
    """
    totals = scores[(scores["metric"] == "total") & (scores["status"] == "ok")]
    table = totals.groupby(["dataset", "cells", "model"], observed=True)["value"].agg(["count", "mean", "std"])
    table = table.reset_index()
    table.columns = ["dataset", "cells", "model", "seeds", "total_mean", "total_std"]
    table["below_control"] = [_controls_above(row, table) for row in table.itertuples()]
    order = ["dataset", "cells", "total_mean", "model"]
    return table.sort_values(order, ascending=[True, True, False, True]).reset_index(drop=True)


def _controls_above(row: Any, table: pd.DataFrame) -> str:
    controls = table[table["model"].str.startswith(CONTROL) & (table["model"] != CEILING)]
    near = controls[(controls["dataset"] == row.dataset) & (controls["cells"] == row.cells)]
    above = near[(near["total_mean"] > row.total_mean) & (near["model"] != row.model)]
    return ",".join(sorted(above["model"]))
