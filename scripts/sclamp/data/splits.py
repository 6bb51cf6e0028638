"""Which cells train, validate and test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sclamp.config.datasets import Dataset, Split
from sclamp.core.errors import UserError, unknown

TRAIN, VAL, TEST = "train", "val", "test"


def split_cells(obs: pd.DataFrame, dataset: Dataset) -> pd.Categorical:
    """Split cells as configured: a categorical of train, val, test, one value per row of obs.

    obs: the user's annotation of the cells that passed quality control, in file order. The same obs, settings and seed
    give the same split. Errors: unknown columns or values; no cells to train or to validate on.
    """
    settings = dataset.split
    if settings.column is not None:
        names = _from_column(obs, settings)
    elif settings.strategy == "hold_out":
        names = _hold_out(obs, settings, dataset)
    else:
        strata = _labels(obs, dataset if settings.strategy == "stratified" else None)
        names = _shares(strata, settings.val_share, settings.test_share, np.random.default_rng(settings.seed))
    empty = [name for name in (TRAIN, VAL) if not (names == name).any()]
    if empty:
        raise UserError(*(f"split: no {_LONG[name]} cells among {len(obs)}{_hint(settings)}." for name in empty))
    return pd.Categorical(names, categories=[TRAIN, VAL, TEST])


_LONG = {TRAIN: "training", VAL: "validation"}


def _hint(settings: Split) -> str:
    if settings.column is not None:
        return f" (split.column is '{settings.column}', split.train '{settings.train}', split.val '{settings.val}')"
    if settings.strategy == "hold_out":
        return f" (split.hold_out is {', '.join(settings.hold_out) or 'drawn'}, split.val_share {settings.val_share:g})"
    return f" (split.val_share {settings.val_share:g}, split.test_share {settings.test_share:g})"


def strings(obs: pd.DataFrame, column: str, key: str) -> np.ndarray:
    """A column of obs as strings; missing values become "nan". key: where the configuration names the column."""
    if column not in obs:
        raise UserError(unknown(f"{key}: obs column", column, obs.columns))
    values = obs[column]
    return np.where(values.isna(), "nan", values.astype(str)).astype(object)


def _from_column(obs: pd.DataFrame, settings: Split) -> np.ndarray:
    values = strings(obs, settings.column or "", "split.column")
    wanted = {settings.train: TRAIN, settings.val: VAL}
    if settings.test is not None:
        wanted[settings.test] = TEST
    others, counts = np.unique(values[~np.isin(values, list(wanted))].astype(str), return_counts=True)
    if len(others):
        known = ", ".join(f"'{name}'" for name in wanted)
        raise UserError(
            *(
                f"split.column: '{settings.column}' has the value '{value}' ({n} cells), which is none of {known}; "
                "name it under split.train, split.val or split.test, or leave these cells out of the file."
                for value, n in zip(others, counts, strict=True)
            )
        )
    return pd.Series(values).map(wanted).to_numpy(dtype=object)


def _labels(obs: pd.DataFrame, dataset: Dataset | None) -> np.ndarray:
    """Labels as strata; a single stratum where there are none."""
    if dataset is None or dataset.label is None:
        return np.full(len(obs), "", dtype=object)
    return strings(obs, dataset.label, "label")


def _hold_out(obs: pd.DataFrame, settings: Split, dataset: Dataset) -> np.ndarray:
    """Whole groups become the test cells; validation cells are drawn from the rest, stratified by label."""
    column = settings.group or dataset.batch
    if column is None:
        raise UserError("split.strategy: hold_out needs split.group, or a batch column.")
    groups, rng = strings(obs, column, "split.group"), np.random.default_rng(settings.seed)
    known = sorted(set(groups))
    wrong = [value for value in settings.hold_out if value not in known]
    if wrong:
        raise UserError(*(unknown(f"split.hold_out: value of obs column '{column}'", value, known) for value in wrong))
    test = np.isin(groups, list(settings.hold_out or _drawn_groups(groups, settings.test_share, rng)))
    names = np.full(len(obs), TEST, dtype=object)
    names[~test] = _shares(_labels(obs[~test], dataset), settings.val_share, 0.0, rng)
    return names


def _drawn_groups(groups: np.ndarray, share: float, rng: np.random.Generator) -> Sequence[str]:
    """Draw groups at random until they hold at least `share` of the cells; at least one group stays out."""
    names, sizes = np.unique(groups.astype(str), return_counts=True)
    order = rng.permutation(len(names))
    reached = np.cumsum(sizes[order]) >= share * len(groups)
    n = min(int(np.argmax(reached)) + 1, len(names) - 1)
    return list(names[order[:n]])


def _shares(strata: np.ndarray, val_share: float, test_share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw validation and test cells with equal shares in each stratum.

    Shares are rounded along the sorted strata (errors never add up), and one cell of each stratum always trains: no
    label is met for the first time in a test.
    """
    names = np.full(len(strata), TRAIN, dtype=object)
    before = 0
    for stratum in pd.unique(pd.Series(strata).sort_values()):
        cells = rng.permutation(np.flatnonzero(strata == stratum))
        after = before + len(cells)
        n_test = min(_rounded(test_share, before, after), len(cells) - 1)
        n_val = min(_rounded(val_share, before, after), len(cells) - 1 - n_test)
        names[cells[:n_test]], names[cells[n_test : n_test + n_val]] = TEST, VAL
        before = after
    if len(strata) > 1 and val_share and not (names == VAL).any():
        names[rng.choice(np.flatnonzero(names == TRAIN))] = VAL
    return names


def _rounded(share: float, before: int, after: int) -> int:
    return int(np.floor(share * after + 0.5)) - int(np.floor(share * before + 0.5))
