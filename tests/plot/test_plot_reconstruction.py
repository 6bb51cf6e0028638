"""Measured against reconstructed: every entry is counted once, numbers come from the tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.plot import reconstruction
from sclamp.plot.reconstruction import HIDDEN, SEEN, Pairs, read_agreement, read_pairs

NAN = float("nan")


def pairs(n: int = 500, **changes: Any) -> pd.DataFrame:
    """Entries as in reconstruction_pairs.parquet; every fourth was masked."""
    rng = np.random.default_rng(0)
    measured = np.where(rng.random(n) < 0.6, 0.0, rng.gamma(4, 0.5, n)).astype("f4")
    guessed = (0.7 * measured + rng.normal(0, 0.3, n)).astype("f4")
    table = {
        "cell_id": "c",
        "gene_id": "g",
        "measured": measured,
        "reconstructed": guessed,
        "masked": np.arange(n) % 4 == 0,
    }
    return pd.DataFrame(table).assign(**changes)


def agreement(
    pearson: float = 0.612, mse: float = 0.25, per_gene: tuple[float, ...] = (0.2, 0.4, 0.9, NAN)
) -> pd.DataFrame:
    """A table like reconstruction.parquet."""
    rows = [("all", None, 12345, pearson, mse), *(("gene", f"g{i}", 10, p, 0.1) for i, p in enumerate(per_gene))]
    return pd.DataFrame([*rows, ("cell", "c0", 10, 0.99, 0.1)], columns=["scope", "id", "n", "pearson", "mse"])


def _draw(table: pd.DataFrame, tmp_path: Path, seen: pd.DataFrame | None, hidden: pd.DataFrame | None) -> Any:
    write_table(tmp_path / "pairs.parquet", table)
    found = []
    for i, frame in enumerate((seen, hidden)):
        if frame is not None:
            write_table(tmp_path / f"{i}.parquet", frame)
        found.append(None if frame is None else read_agreement(tmp_path / f"{i}.parquet"))
    return reconstruction.draw(read_pairs(tmp_path / "pairs.parquet"), *found, "direct")


def _panel(figure: Any, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def test_every_entry_is_counted_in_its_panel(tmp_path: Path) -> None:
    table = pairs()
    table.loc[0, "reconstructed"] = 1e9  # drawn at the edge
    figure = _draw(table, tmp_path, agreement(), agreement())
    for title, n in ((SEEN, 375), (HIDDEN, 125)):
        axes = _panel(figure, title)
        assert axes.collections[0].get_array().sum() == n
        assert axes.get_xlim() == axes.get_ylim() == _panel(figure, SEEN).get_xlim()
        line = axes.lines[0]
        np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert _panel(figure, SEEN).get_ylim()[1] < 20
    scales = [_panel(figure, title).collections[0].norm for title in (SEEN, HIDDEN)]
    assert scales[0].vmax == scales[1].vmax


def test_numbers_come_from_the_row_over_all_entries(tmp_path: Path) -> None:
    figure = _draw(pairs(), tmp_path, agreement(), agreement(pearson=NAN, mse=0.49))
    seen, hidden = (_panel(figure, title).texts[0].get_text() for title in (SEEN, HIDDEN))
    assert seen == "Pearson 0.612, RMSE 0.500 over 12,345 entries"
    assert hidden == "Pearson not defined, RMSE 0.700 over 12,345 entries"


def test_the_histogram_counts_genes_only(tmp_path: Path) -> None:
    figure = _draw(pairs(), tmp_path, agreement(), agreement(per_gene=(0.3, -0.7)))
    axes = _panel(figure, "Per gene")
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["seen: median 0.40, 3 genes", "masked: median -0.20, 2 genes"]
    assert axes.get_xlim()[0] < -0.7
    bars = axes.patches[0].get_xy()
    assert bars[:, 1].max() == 1


def test_without_masked_entries_or_tables_the_rest_is_drawn(tmp_path: Path) -> None:
    table = pairs()
    figure = _draw(table[~table["masked"]], tmp_path, agreement(per_gene=(NAN,)), None)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert SEEN in titles and HIDDEN not in titles
    assert [t.get_text() for t in _panel(figure, "Per gene").texts] == ["no gene has a correlation"]
    figure = _draw(table, tmp_path, agreement().iloc[:0], None)
    assert _panel(figure, SEEN).texts[0].get_text() == "agreement was not computed"


def test_entries_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    table = pairs()
    table.loc[:99, "reconstructed"] = NAN
    table.loc[100, "measured"] = np.inf
    write_table(tmp_path / "pairs.parquet", table)
    assert len(read_pairs(tmp_path / "pairs.parquet").masked) == 399


def test_one_entry_and_one_value_can_be_drawn() -> None:
    one = Pairs(np.array([0.0]), np.array([0.0]), np.array([False]))
    assert len(reconstruction.draw(one, None, None, "x").axes) == 3


def test_the_script_draws_the_same_twice(drawn: Callable[..., str], tmp_path: Path) -> None:
    write_table(tmp_path / "p.parquet", pairs())
    write_table(tmp_path / "r.parquet", agreement())
    files = ("--pairs", tmp_path / "p.parquet", "--reconstruction", tmp_path / "r.parquet", "--title", "direct")
    words = drawn("plot_reconstruction.py", *files, "--imputation", tmp_path / "r.parquet")
    for text in ("direct", "500 sampled entries", SEEN, HIDDEN, "Pearson 0.612", "Per gene"):
        assert text in words


def test_a_model_without_decoder_is_explained(
    drawn: Callable[..., str], run_script: Callable[..., None], tmp_path: Path
) -> None:
    write_table(tmp_path / "p.parquet", pairs().iloc[:0])
    write_table(tmp_path / "r.parquet", agreement().iloc[:0])
    files = ["--pairs", tmp_path / "p.parquet", "--reconstruction", tmp_path / "r.parquet"]
    assert "the model has no decoder" in drawn("plot_reconstruction.py", *files)
    write_table(tmp_path / "p.parquet", pairs().rename(columns={"masked": "mask"}))
    with pytest.raises(UserError, match=r"column 'masked' does not exist; did you mean 'mask'"):
        run_script("plot_reconstruction.py", *files, "--output", tmp_path / "x.png")
