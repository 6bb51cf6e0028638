"""The map of gene modules: sizes, terms and colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba

from sclamp.core.errors import UserError
from sclamp.core.files import write_embedding, write_table
from sclamp.plot import modules
from sclamp.plot.modules import modules_of, words
from sclamp.plot.style import NOTHING, PALETTE

IDS = np.array([f"G{i}" for i in range(60)], dtype=object)
GROUP = np.repeat([0, 1, 2], [10, 30, 20])
VECTORS = 5 * np.eye(3, 6)[GROUP] + np.random.default_rng(0).normal(scale=0.3, size=(60, 6))
VECTORS[11] = 9 * np.eye(3, 6)[1]  # at the centre of module 1, up to its length
TABLE = pd.DataFrame({"gene_id": IDS, "module": GROUP})
TERMS = pd.DataFrame(
    [(0, "weak", 1e-9, 0.2), (1, "A_SECOND", 1e-3, 1e-2), (1, "GOBP_FIRST_TERM", 1e-5, 1e-4), (2, "third", 1e-4, 1e-3)],
    columns=["module", "term", "p", "p_adjusted"],
)


def test_modules_come_by_size_with_their_surest_significant_term() -> None:
    found = modules_of(IDS, VECTORS, TABLE, TERMS, {"G11": "HUB"})
    assert [(m.name, len(m.rows), m.term) for m in found] == [
        ("1", 30, "GOBP_FIRST_TERM"),
        ("2", 20, "third"),
        ("0", 10, ""),
    ]
    assert found[0].p == 1e-4
    assert found[0].central[0] == "HUB" and len(found[2].central) == 3
    assert set(found[2].central) <= set(IDS[:10])


def test_genes_without_a_module_are_grey_and_others_have_the_colour_of_theirs() -> None:
    found = modules_of(IDS, VECTORS, TABLE[TABLE["module"] != 2], TERMS.iloc[:0], {})
    at = np.random.default_rng(1).normal(size=(60, 2))
    points = modules.draw(at, found, "direct").axes[0].collections[0]
    place = {tuple(spot): i for i, spot in enumerate(at)}
    rows = [place[tuple(spot)] for spot in np.asarray(points.get_offsets())]
    expected = {0: PALETTE[1], 1: PALETTE[0], 2: NOTHING}
    inks = [to_hex(colour[:3]).upper() for colour in points.get_facecolors()]
    assert inks == [to_hex(to_rgba(expected[GROUP[row]])).upper() for row in rows]


def _texts(figure: Any, axes: int) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].texts]


def test_the_map_names_modules_and_the_legend_gives_sizes() -> None:
    figure = modules.draw(VECTORS[:, :2], modules_of(IDS, VECTORS, TABLE, TERMS, {}), "direct")
    assert _texts(figure, 0) == ["1 first term", "2 third", "0"]
    legend = _texts(figure, 1)
    assert legend[:4] == ["1 (30 genes)", "first term, p = 0.0001", "2 (20 genes)", "third, p = 0.001"]
    assert legend[4] == "0 (10 genes)" and legend[5].count(", ") == 2
    assert legend[-1].startswith("In italics")
    counts = [text.get_text() for text in figure.texts]
    assert "60 genes, 3 modules, 2 with an enriched term" in counts


def test_many_modules_fit() -> None:
    table = pd.DataFrame({"gene_id": IDS, "module": [f"m{i}" for i in range(60)]})
    long = "a term with a name that is much longer than any column of a legend could ever be"
    terms = pd.DataFrame({"module": table["module"], "term": long, "p": 0.0, "p_adjusted": 0.0})
    figure = modules.draw(
        np.random.default_rng(0).normal(size=(60, 2)), modules_of(IDS, VECTORS, table, terms, {}), "x"
    )
    assert "and 36 smaller modules" in _texts(figure, 1)
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in figure.axes[1].texts]
    assert max(box.x1 for box in boxes) < figure.bbox.width
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(
    ("term", "expected"),
    [("GOBP_INSULIN_SECRETION", "insulin secretion"), ("DNA_REPAIR", "dna repair"), ("GO:0006412 translation",) * 2,
     ("cell_cycle",) * 2, ("MITOSIS",) * 2],
)  # fmt: skip
def test_terms_are_written_as_people_do(term: str, expected: str) -> None:
    assert words(term) == expected


def _files(tmp_path: Path, table: pd.DataFrame, n: int = 60) -> list[object]:
    write_embedding(tmp_path / "e.parquet", "gene_id", list(IDS[:n]), VECTORS[:n], {})
    write_table(tmp_path / "m.parquet", table)
    write_table(tmp_path / "t.parquet", TERMS)
    write_table(tmp_path / "g.parquet", {"gene_id": list(IDS), "symbol": [f"S{i}" for i in range(60)]})
    return ["--embedding", tmp_path / "e.parquet", "--modules", tmp_path / "m.parquet", "--module-terms",
            tmp_path / "t.parquet", "--genes", tmp_path / "g.parquet"]  # fmt: skip


def test_the_script_draws_the_same_twice(drawn: Callable[..., str], tmp_path: Path) -> None:
    found = drawn("plot_modules.py", *_files(tmp_path, TABLE), "--title", "direct")
    for text in ("direct", "1 first term", "1 (30 genes)", "third, p = 0.001"):
        assert text in found


def test_no_modules_and_a_foreign_table(
    drawn: Callable[..., str], run_script: Callable[..., None], tmp_path: Path
) -> None:
    expected = "No gene belongs to a module"
    assert expected in drawn("plot_modules.py", *_files(tmp_path, TABLE.iloc[:0]))
    assert expected in drawn("plot_modules.py", *_files(tmp_path, TABLE.iloc[:0], n=0))
    files = _files(tmp_path, TABLE.rename(columns={"module": "modules"}))
    with pytest.raises(UserError, match=r"column 'module' does not exist; did you mean 'modules'"):
        run_script("plot_modules.py", *files, "--output", tmp_path / "x.png")
