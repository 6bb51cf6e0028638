"""The order in which training rows are read, and reading ahead in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")

WINDOW_ROWS = 32_768
"""Rows that are mixed with each other where whole blocks of rows are shuffled."""


def epoch_order(rows: np.ndarray, seed: int, epoch: int, block_rows: int | None = None) -> np.ndarray:
    """The rows in the order of one epoch: a function of (seed, epoch) alone.

    block_rows None: any order is equally likely. Otherwise blocks of that many neighbours are shuffled, then the rows
    within windows of many blocks, so that a disk is read in pieces.
    """
    rng = np.random.default_rng([seed, epoch])
    if block_rows is None:
        return rows[rng.permutation(len(rows))]
    starts = rng.permutation(np.arange(0, len(rows), block_rows))
    order = np.concatenate([rows[start : start + block_rows] for start in starts]) if len(rows) else rows.copy()
    for first in range(0, len(order), WINDOW_ROWS):
        rng.shuffle(order[first : first + WINDOW_ROWS])
    return order


def cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut rows into batches; a last batch of one row joins the one before (BatchNorm needs two)."""
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
    return batches


def read_ahead(items: Iterable[T], read: Callable[[T], R], depth: int = 3) -> Iterator[R]:
    """Yield read(item) for each item, in order, computed by a thread up to `depth` items ahead.

    An error in the thread is raised here, at the item where it occurred; closing the iterator ends the thread.
    """
    results: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            try:
                results.put((kind, value), timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                put("result", read(item))
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="sclamp-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = results.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join()
