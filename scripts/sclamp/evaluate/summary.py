"""From the scores of all runs to the tables of the summary: calibrated scores, intervals, comparisons, ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.evaluate.blocks import EMPTY, Block, blocks
from sclamp.evaluate.calibrate import bounds, calibrated
from sclamp.evaluate.compare import Pair, compare, model_pairs
from sclamp.evaluate.intervals import interval_table
from sclamp.evaluate.ranks import below_controls, ranks
from sclamp.evaluate.resampled import Resampled

INTERVALS = (
    "dataset", "cells", "task", "metric", "model", "seeds", "mean", "std", "low_seeds", "high_seeds", "low_cells",
    "high_cells", "low", "high", "calibrated", "calibrated_low", "calibrated_high", "floor", "ceiling", "rank",
    "below_control",
)  # fmt: skip


class Summary(NamedTuple):
    """scores: the given ones with the column calibrated. intervals: columns INTERVALS. comparisons: see `compare`."""

    scores: pd.DataFrame
    intervals: pd.DataFrame
    comparisons: pd.DataFrame


def summarize(
    scores: pd.DataFrame, resampled: Resampled, baseline: str | None = None, prior_pairs: Sequence[Pair] = ()
) -> Summary:
    """Make the tables of the summary.

    scores: columns of `rows.COLUMNS`. baseline: model that counts as a control of all others. prior_pairs: model, and
    the same with a control in place of its gene priors; names without any score are an error.
    """
    known = sorted(scores["model"].unique())
    names = dict.fromkeys(name for pair in prior_pairs for name in pair)
    if problems := [unknown("--prior-controls: model", name, known) for name in names if name not in known]:
        raise UserError(*problems)
    limits = bounds(scores)
    pairs = list(dict.fromkeys(prior_pairs))
    parts = [_of_dataset(block, pairs) for block in blocks(scores, resampled)] or [_of_dataset(EMPTY, pairs)]
    intervals, of_models, of_priors = zip(*parts, strict=True)
    compared = _joined([*of_models, *of_priors])
    return Summary(
        scores.assign(calibrated=calibrated(scores, limits, "value")),
        _finished(_joined(intervals), limits, compared, baseline),
        compared,
    )


def _of_dataset(block: Block, pairs: Sequence[Pair]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return interval_table(block), compare(block, model_pairs(block), "models"), compare(block, pairs, "prior")


def prior_pairs(listed: Any) -> list[Pair]:
    """Pairs of a model and the run with a control of its priors, from a list of {"model", "control", "of"}.

    model: the run with the control; of: the model whose prior it replaces.
    """
    form = 'a list of {"model": ..., "control": ..., "of": ...} is expected'
    if not isinstance(listed, list):
        raise UserError(f"--prior-controls: {form}, found {type(listed).__name__}.")
    problems = [
        f"--prior-controls[{i}]: {form}; {'no key ' + repr(key) if isinstance(each, dict) else repr(each)} was found."
        for i, each in enumerate(listed)
        for key in ("model", "of")
        if not isinstance(each, dict) or not isinstance(each.get(key), str)
    ]
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return [(each["of"], each["model"]) for each in listed]


def _finished(table: pd.DataFrame, limits: pd.DataFrame, compared: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """Add what stands on the whole table: calibrated values, ranks, controls above."""
    ends = [calibrated(table, limits, name) for name in ("low", "high")]  # swapped where the floor is the larger value
    near = table[["dataset", "cells", "task", "metric"]].merge(limits, how="left")
    table = table.assign(rank=ranks(table, compared))
    return table.assign(
        calibrated=calibrated(table, limits, "mean"),
        calibrated_low=np.minimum(*ends),
        calibrated_high=np.maximum(*ends),
        floor=near["floor"].to_numpy(),
        ceiling=near["ceiling"].to_numpy(),
        below_control=below_controls(table, baseline),
    )[list(INTERVALS)]


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]
