"""Texts or sequences to vectors: each distinct one once, from the cache where it is known, else in batches."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sclamp.core.progress import doing, progress
from sclamp.priors.cache import VectorCache, content_key

SECONDS_BETWEEN_FLUSHES = 20.0


class Embedder(Protocol):
    """A loaded model."""

    max_tokens: int
    """Tokens read per input, special ones included; the rest is cut off."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each input before anything is cut off."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One float32 vector per input, (n, k)."""


def identity(**parts: Any) -> str:
    """Digest of everything that decides a vector besides its text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def embed_once(
    texts: Sequence[str], load: Callable[[], Embedder], cache: VectorCache, batch_size: int, unit: str
) -> tuple[np.ndarray, int]:
    """Embed texts: vectors (n, k) in their order, and how many of them were cut.

    load: called only when some text is not in the cache, so that a second run imports no torch. Progress is reported
    and the cache flushed on the way: an interrupted run loses at most the last seconds.
    """
    keys = [content_key(text) for text in texts]
    todo = {key: text for key, text in zip(keys, texts, strict=True) if key not in cache}
    if len(todo) < len(texts):
        print(f"{len(texts)} {unit}, {len(todo)} of them new", file=sys.stderr, flush=True)
    if todo:
        with doing("loading the model"):
            model = load()
        _embed(todo, model, cache, batch_size, unit)
    found = [cache[key] for key in keys]
    return np.stack([vector for vector, _ in found]), sum(cut for _, cut in found)


def _embed(todo: dict[str, str], model: Embedder, cache: VectorCache, batch_size: int, unit: str) -> None:
    keys, texts = list(todo), list(todo.values())
    lengths = model.lengths(texts)
    order = sorted(range(len(keys)), key=lambda i: (lengths[i], keys[i]))  # neighbours need hardly any padding
    batch: list[int] = []
    last = time.monotonic()
    try:
        for done, text in enumerate(progress(order, len(order), "embedding", unit), start=1):
            batch.append(text)
            if len(batch) < batch_size and done < len(order):
                continue
            vectors = model.embed([texts[i] for i in batch])
            cache.add([keys[i] for i in batch], vectors, [lengths[i] > model.max_tokens for i in batch])
            batch = []
            if time.monotonic() - last > SECONDS_BETWEEN_FLUSHES:
                cache.flush()
                last = time.monotonic()
    finally:
        cache.flush()
