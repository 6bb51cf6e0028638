"""Figures inside the page: made small, within a budget for all of them together."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

BUDGET = 10_000_000
"""Bytes of all figures of a page, as text (base64)."""
WIDE, NARROW = 1700, 1000
"""Pixels across: the usual width, and the one when half of the budget is spent."""


class Picture(NamedTuple):
    """A figure. data: for src; None when the budget is spent. alt: what it shows, in words."""

    path: Path
    alt: str
    caption: str
    data: str | None
    width: int
    height: int


class Album:
    """Takes figures in the order of their importance until the budget is spent."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget, self.spent = budget, 0

    def add(self, path: Path, alt: str, caption: str = "") -> Picture | None:
        """Embed a PNG; None when the file does not exist."""
        if not path.is_file():
            return None
        text, width, height = _embedded(path, WIDE if self.spent < self.budget / 2 else NARROW)
        if self.spent + len(text) > self.budget:
            return Picture(path, alt, caption, None, width, height)
        self.spent += len(text)
        return Picture(path, alt, caption, text, width, height)


def _embedded(path: Path, most: int) -> tuple[str, int, int]:
    """A PNG as data URI, with at most `most` pixels across and 256 colours."""
    with Image.open(path) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    if flat.width > most:
        flat = flat.resize((most, round(flat.height * most / flat.width)), Image.Resampling.LANCZOS)
    small = flat.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), flat.width, flat.height
