"""Control priors: what a gene prior would be if it knew nothing about genes."""

from __future__ import annotations

import numpy as np

from sclamp.core.errors import UserError

MAX_ONEHOT_GENES = 20_000
"""More genes than this would make a one-hot matrix of over 1.6 GB."""


def derangement(n: int, seed: int) -> np.ndarray:
    """A random order of n positions in which none stays in its place (n > 1): one cycle through all (Sattolo 1986)."""
    rng = np.random.default_rng(seed)
    order = np.arange(n)
    for last in range(n - 1, 0, -1):
        other = int(rng.integers(last))
        order[last], order[other] = order[other], order[last]
    return order


def shuffled(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The same (n, k) vectors, each on another row than its own."""
    return vectors[derangement(len(vectors), seed)]


def gaussian(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Random (n, k) vectors with exactly the mean and covariance of `vectors`, and nothing else of them.

    Gaussian noise is centred, made orthonormal, and scaled along the principal axes of `vectors`.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    scales, axes = _principal_axes(centred)
    noise = np.random.default_rng(seed).standard_normal((len(vectors), len(scales)))
    directions, _ = np.linalg.qr(noise - noise.mean(axis=0))
    return (mean + (directions * scales) @ axes).astype(np.float32)


def _principal_axes(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values (r,) above rounding and right singular vectors (r, k), from the smaller Gram matrix."""
    n, k = centred.shape
    wide = k > n
    squares, left = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = squares > squares[-1] * max(n, k) * np.finfo(np.float64).eps * 10
    kept[: -min(n - 1, k) or None] = False  # centring takes one degree of freedom
    scales = np.sqrt(squares[kept])
    axes = (centred.T @ left[:, kept] / scales).T if wide else left[:, kept].T
    return scales, axes


def onehot(n: int) -> np.ndarray:
    """(n, n) identity: no gene resembles another."""
    if n > MAX_ONEHOT_GENES:
        limit = f"at most {MAX_ONEHOT_GENES} (its matrix has n x n values); choose fewer genes"
        raise UserError(f"gene prior of source onehot: {n} genes are selected, {limit}.")
    return np.eye(n, dtype=np.float32)
