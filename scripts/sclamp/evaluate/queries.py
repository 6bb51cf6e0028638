"""Nearest neighbours of some cells among others."""

from __future__ import annotations

import numpy as np


def nearest_among(points: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows (m, k) of the points that are nearest to each query, nearest first; all pairs are compared, in float32."""
    import faiss

    centre, scale = points.mean(axis=0), np.abs(points - points.mean(axis=0)).max()
    known, asked = (((p - centre) / (scale or 1.0)).astype(np.float32) for p in (points, queries))
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(known))
    return index.search(np.ascontiguousarray(asked), k)[1]
