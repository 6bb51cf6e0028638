"""Ridge regression of a cell's expression on gene vectors: the plainest way from known genes to others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sclamp.evaluate.measure import NotApplicable

PENALTIES = 10.0 ** np.arange(-3, 4.5, 0.5)
"""Penalties that are tried, in units of the vectors' mean sum of squares along a direction."""

MAX_SIDE = 8192
"""Largest matrix, genes or values of a vector whichever is smaller, that is decomposed."""

_FOLD = 5
"""Every fifth known gene is predicted from the others to choose the penalty."""


def ridge(known: np.ndarray, vectors: np.ndarray, new_vectors: np.ndarray, penalty: float) -> np.ndarray:
    """Predict new genes of each cell from its known ones (Hoerl & Kennard 1970): (cells, new genes).

    known (cells, genes), vectors (genes, width), new_vectors (new genes, width). For each cell alone its expression is
    regressed on the genes' vectors, with an intercept; the coefficients are applied to the new genes' vectors.
    """
    (predicted,) = _ridges(known, vectors, new_vectors, [penalty])
    return predicted


def chosen_penalty(cells: np.ndarray, vectors: np.ndarray) -> float:
    """The penalty under which every fifth known gene of some cells is best predicted from the others.

    cells: (cells, genes). Best: the highest correlation across cells, mean over genes.
    """
    asked = np.arange(len(vectors)) % _FOLD == _FOLD - 1
    found = _ridges(cells[:, ~asked], vectors[~asked], vectors[asked], PENALTIES)
    scores = [mean_defined(correlations(cells[:, asked], predicted)) for predicted in found]
    return float(PENALTIES[int(np.nanargmax(np.where(np.isnan(scores), -np.inf, scores)))])


def _ridges(
    known: np.ndarray, vectors: np.ndarray, new_vectors: np.ndarray, penalties: Iterable[float]
) -> Iterator[np.ndarray]:
    """Predictions under each penalty, from one decomposition of the smaller Gram matrix."""
    center, level = vectors.mean(0, dtype=np.float64), known.mean(1, keepdims=True, dtype=np.float64)
    p, q = vectors - center, new_vectors - center
    if min(p.shape) > MAX_SIDE:
        raise NotApplicable(f"{p.shape[0]} genes with vectors of {p.shape[1]} values are too many for this baseline")
    if p.shape[1] <= p.shape[0]:
        values, axes = np.linalg.eigh(p.T @ p)
        left, right = p @ axes, (q @ axes).T
    else:
        values, left = np.linalg.eigh(p @ p.T)
        right = left.T @ (p @ q.T)
    coordinates, unit = (known - level) @ left, values.sum() / max(min(p.shape), 1)
    for penalty in penalties:
        yield level + (coordinates / (np.maximum(values, 0) + penalty * unit + 1e-300)) @ right


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation of each column of x with the same column of y, (columns,); NaN where one is constant.

    Entries that are NaN in either are left out.
    """
    known = ~(np.isnan(x) | np.isnan(y))
    a, b = (_centred(array, known) for array in (x, y))
    scale = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    defined = scale > 1e-12 * len(x)
    return np.where(defined, (a * b).sum(0) / np.where(defined, scale, 1.0), np.nan)


def _centred(array: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Columns less the mean of their known entries; 0 elsewhere."""
    if known.all():
        return array - array.mean(0, dtype=np.float64)
    plain = np.where(known, array, 0.0)
    return np.where(known, plain - plain.sum(0) / np.maximum(known.sum(0), 1), 0.0)


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
