"""Covariates: fitted on the training cells, encoded once, and encoded alike for new cells.

Columns of the encoded matrix: for each categorical column one 0/1 column per category, then the standardised continuous
columns, in the order of the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sclamp.core.errors import UserError, unknown
from sclamp.data.splits import strings
from sclamp.types import Covariates


def fit(train: pd.DataFrame, categorical: Sequence[str], continuous: Sequence[str]) -> Covariates:
    """Learn categories and standardisation from the training cells.

    Categories are the sorted values as strings; missing values are a category "nan" of their own where training cells
    have them. Continuous: mean and population standard deviation (1 where it is 0).
    Errors: unknown columns; continuous values that are missing or no numbers.
    """
    problems = [
        unknown(f"covariates.{kind}: obs column", column, train.columns)
        for kind, columns in (("categorical", categorical), ("continuous", continuous))
        for column in columns
        if column not in train
    ]
    if problems:
        raise UserError(*problems)
    categories = {c: tuple(sorted(set(strings(train, c, "covariates.categorical")))) for c in categorical}
    moments = {c: _moments(numbers(train, c)) for c in continuous}
    return Covariates(categories, moments)


def encode(obs: pd.DataFrame, covariates: Covariates) -> np.ndarray:
    """Encode cells as an (n, width) float32 matrix.

    A value unknown to the training cells, and a categorical column that obs lacks, become zeros. Errors: a continuous
    column that obs lacks, or with missing values.
    """
    parts = [np.empty((len(obs), 0), dtype=np.float32)]
    for column, categories in covariates.categorical.items():
        block = np.zeros((len(obs), len(categories)), dtype=np.float32)
        if column in obs:
            codes = pd.Index(categories, dtype=object).get_indexer(strings(obs, column, "covariates.categorical"))
            block[codes >= 0, codes[codes >= 0]] = 1.0
        parts.append(block)
    missing = [column for column in covariates.continuous if column not in obs]
    if missing:
        raise UserError(*(unknown("covariates.continuous: obs column", column, obs.columns) for column in missing))
    for column, (mean, std) in covariates.continuous.items():
        parts.append(((numbers(obs, column) - mean) / std).astype(np.float32)[:, None])
    return np.concatenate(parts, axis=1)


def numbers(obs: pd.DataFrame, column: str) -> np.ndarray:
    """A continuous column as float64. Errors: values that are no numbers, or missing."""
    try:
        values = obs[column].astype(np.float64).to_numpy()
    except (TypeError, ValueError) as error:
        raise UserError(f"covariates.continuous: obs column '{column}' does not hold numbers ({error}).") from error
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UserError(
            f"covariates.continuous: obs column '{column}' has {bad} missing or infinite values among {len(values)} "
            "cells; fill them, leave these cells out, or leave the column out."
        )
    return values


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation; constant values get 1."""
    mean, std = float(values.mean()), float(values.std())
    return mean, std if std > 1e-12 * max(1.0, abs(mean)) else 1.0
