"""Silhouettes: how much nearer a cell is to its own group than to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 256
"""Cells on a side of the tiles in which distances are computed: half a megabyte."""


class _Block(NamedTuple):
    """Cells that follow each other when sorted by group. rows, groups: slices; member (rows, groups): 1 or 0."""

    rows: slice
    groups: slice
    member: np.ndarray


def group_distance_sums(points: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum of each cell's euclidean distances to the cells of each group: (n, n_groups) float64.

    One pass over the upper triangle of the distance matrix, in square tiles that stay in the processor's cache: memory
    grows with n, time with n^2. The cells are sorted by group, so that a tile concerns few groups.
    """
    order = np.argsort(groups, kind="stable")
    sorted_ = (points - points.mean(axis=0))[order]
    norms, ones = np.einsum("ij,ij->i", sorted_, sorted_), np.ones(len(sorted_))
    # One product gives |x|^2 - 2 x.y + |y|^2.
    left, right = np.column_stack([-2 * sorted_, norms, ones]), np.column_stack([sorted_, ones, norms])
    blocks = list(_blocks(groups[order]))
    sums = np.zeros((len(sorted_), n_groups))
    for number, block in enumerate(blocks):
        for other in blocks[number:]:
            squared = left[block.rows] @ right[other.rows].T
            np.maximum(squared, 0, out=squared)
            if other is block:
                np.fill_diagonal(squared, 0)
            distances = np.sqrt(squared, out=squared)
            sums[block.rows, other.groups] += distances @ other.member
            if other is not block:
                sums[other.rows, block.groups] += distances.T @ block.member
    unsorted = np.empty_like(sums)
    unsorted[order] = sums
    return unsorted


def _blocks(sorted_groups: np.ndarray) -> Iterator[_Block]:
    for start in range(0, len(sorted_groups), BLOCK):
        codes = sorted_groups[start : start + BLOCK]
        present = slice(int(codes[0]), int(codes[-1]) + 1)
        member = codes[:, None] == np.arange(present.start, present.stop)
        yield _Block(slice(start, start + len(codes)), present, member.astype(np.float64))


def silhouette_widths(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Silhouette of each cell (Rousseeuw 1987), (n,) in [-1, 1]; 0 for a cell that is alone in its group.

    (b - a) / max(a, b) with a the mean distance to the own group's other cells, b that to the nearest other group.
    groups (n,): codes 0..g-1, each present.
    """
    sizes = np.bincount(groups)
    sums = group_distance_sums(points, groups, len(sizes))
    cells = np.arange(len(points))
    within = sums[cells, groups] / np.maximum(sizes[groups] - 1, 1)
    between = sums / sizes
    between[cells, groups] = np.inf
    return _widths(within, between.min(axis=1), alone=sizes[groups] == 1)


def _widths(within: np.ndarray, between: np.ndarray, alone: np.ndarray) -> np.ndarray:
    largest = np.maximum(within, between)
    largest[largest == 0] = 1  # identical cells: the difference is 0 as well
    return np.where(alone, 0.0, (between - within) / largest)
