"""Cell types and their marker genes, as figures show them."""

from __future__ import annotations

from pathlib import Path

from sclamp.data.h5ad import opened, read_frame
from sclamp.evaluate.gene_markers import find_markers, read_markers

__all__ = ["cell_types", "find_markers", "read_markers"]


def cell_types(counts: str | Path) -> list[str]:
    """All cell types of a count file, in the order in which maps of its cells colour them."""
    with opened(counts) as file:
        obs = read_frame(file, "obs")
    return [str(name) for name in obs["label"].astype("category").cat.categories] if "label" in obs else []
