"""Words for lists."""

from __future__ import annotations

from collections.abc import Iterable


def joined(words: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = [str(word) for word in words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def counted(number: int, noun: str) -> str:
    """1 model, 2 models."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
