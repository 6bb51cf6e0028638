"""Embedding once: cache, order, interruption, truncation; with a stand-in for the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sclamp.core.errors import UserError
from sclamp.priors.cache import VectorCache, content_key
from sclamp.priors.embed import embed_once, identity


class Letters:
    """Counts letters a, b, c; reads at most 5 characters. Remembers what it was given."""

    max_tokens = 5

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: list[str] = []
        self.fail_at = fail_at

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self.fail_at is not None and len(self.seen) >= self.fail_at:
            raise KeyboardInterrupt
        self.seen += texts
        return np.array([[text[:5].count(letter) for letter in "abc"] for text in texts], np.float32)


TEXTS = ["abc", "a", "abc", "ccccccc", "bb"]
VECTORS = [[1, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 5], [0, 2, 0]]


def test_each_distinct_text_once_in_order_of_length(tmp_path: Path) -> None:
    model = Letters()
    vectors, cut = embed_once(TEXTS, lambda: model, VectorCache(tmp_path, "m"), 2, "texts")
    assert vectors.tolist() == VECTORS and cut == 1
    assert model.seen == ["a", "bb", "abc", "ccccccc"]


def test_a_second_run_loads_no_model_and_gives_the_same(tmp_path: Path) -> None:
    first, cut = embed_once(TEXTS, Letters, VectorCache(tmp_path, "m"), 2, "texts")

    def never() -> Letters:
        raise AssertionError("loaded")

    again, cut_again = embed_once(TEXTS, never, VectorCache(tmp_path, "m"), 3, "texts")
    assert again.tobytes() == first.tobytes() and cut_again == cut
    model = Letters()
    embed_once([*TEXTS, "new"], lambda: model, VectorCache(tmp_path, "m"), 2, "texts")
    assert model.seen == ["new"]
    other = Letters()
    embed_once(TEXTS, lambda: other, VectorCache(tmp_path, "another model"), 2, "texts")
    assert len(other.seen) == 4


def test_an_interrupted_run_resumes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_once(TEXTS, lambda: Letters(fail_at=2), VectorCache(tmp_path, "m"), 2, "texts")
    model = Letters()
    vectors, _ = embed_once(TEXTS, lambda: model, VectorCache(tmp_path, "m"), 2, "texts")
    assert model.seen == ["abc", "ccccccc"] and vectors.tolist() == VECTORS
    assert not list(tmp_path.rglob("*.tmp"))


def test_flushes_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sclamp.priors.embed.SECONDS_BETWEEN_FLUSHES", -1.0)
    embed_once(TEXTS, Letters, VectorCache(tmp_path, "m"), 1, "texts")
    assert len(list(tmp_path.rglob("part-*.parquet"))) == 4


def test_without_a_cache_folder(tmp_path: Path) -> None:
    vectors, _ = embed_once(TEXTS, Letters, VectorCache(None, "m"), 2, "texts")
    assert vectors.tolist() == VECTORS


def test_damaged_part_is_named(tmp_path: Path) -> None:
    embed_once(TEXTS, Letters, VectorCache(tmp_path, "m"), 2, "texts")
    part = next(tmp_path.rglob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(UserError, match=f"{part.name}: damaged cache file; delete it"):
        VectorCache(tmp_path, "m")


def test_identity_and_key_depend_on_everything() -> None:
    base = {"kind": "text", "model": "x", "max_tokens": None}
    ids = [identity(**base), identity(**base | {"model": "y"}), identity(**base | {"max_tokens": 64})]
    assert len(set(ids)) == 3 and ids[0] == identity(**dict(reversed(base.items())))
    assert content_key("a") != content_key("a ")
