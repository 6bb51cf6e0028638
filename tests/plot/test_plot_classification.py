"""Confusion matrix and reliability diagram: counts by hand, what stands in the figure, awkward predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.evaluate.predictions import Scored
from sclamp.plot.classification import NONE, confusion, draw, reliability

NAMES = ("a", "b", "only guessed", "unused")


def scored(truth: list[int], guess: list[int], sure: list[float] | None = None) -> Scored:
    n, k = len(truth), len(NAMES)
    probabilities = np.zeros((n, k))
    probabilities[np.arange(n), guess] = 0.5 if sure is None else sure
    return Scored(
        NAMES, np.array(truth), np.array(guess), probabilities, np.ones(k, bool), np.array([True, False, True, True]),
        np.arange(n), n, "test",
    )  # fmt: skip


def test_confusion_by_hand() -> None:
    """Rows are true labels; a label that is only predicted has a column at the end, one that nobody has is left out."""
    found = confusion(scored([0, 0, 0, 0, 1, 1], [0, 0, 2, 1, 1, -1]))
    assert found.rows == ["a", "b"]
    assert found.columns == ["a", "b", "only guessed", NONE]
    assert found.sizes.tolist() == [4, 2]
    assert found.shares.tolist() == [[0.5, 0.25, 0.25, 0.0], [0.0, 0.5, 0.0, 0.5]]
    assert found.unseen == {"b"}


def test_reliability_by_hand() -> None:
    found = reliability(scored([0, 0, 1, 1, 0], [0, 1, 1, 1, -1], [0.6, 0.6, 0.61, 1.0, 0.3]))
    assert found is not None
    assert found.cells.tolist() == [2, 1, 1]  # a bin holds its upper end: .6 = 9 / 15
    assert found.confidence == pytest.approx([0.6, 0.61, 1.0])
    assert found.right == pytest.approx([0.5, 1.0, 1.0])
    assert found.error == pytest.approx((2 * 0.1 + 0.39) / 4)


def test_a_model_without_probabilities_has_no_reliability() -> None:
    cells = replace(scored([0, 1], [0, 1]), known=np.zeros(4, bool))
    assert reliability(cells) is None
    assert any("gives no probabilities" in text.get_text() for text in draw(cells, "x").axes[1].texts)


@pytest.mark.parametrize("n_labels", [2, 20, 60])
def test_names_fit_and_do_not_overlap(n_labels: int) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"a rather long name of a cell type {i:02d}" for i in range(n_labels))
    truth = np.arange(600) % n_labels
    guess = np.where(rng.random(600) < 0.8, truth, rng.integers(n_labels, size=600))
    probabilities = np.eye(n_labels)[guess] * 0.9 + 0.1 / n_labels
    ones = np.ones(n_labels, bool)
    figure = draw(Scored(names, truth, guess, probabilities, ones, ones, np.arange(600), 600, "val"), "many")
    renderer = figure.canvas.get_renderer()
    matrix, page = figure.axes[0], figure.bbox
    for ticks, axis in ((matrix.get_yticklabels(), "y"), (matrix.get_xticklabels(), "x")):
        boxes = [tick.get_window_extent(renderer) for tick in ticks]
        assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
        middles = sorted((b.y0 + b.y1) / 2 if axis == "y" else (b.x0 + b.x1) / 2 for b in boxes)
        thickness = max((b.height if axis == "y" else b.width) for b in boxes)
        assert np.diff(middles).min() > 0.8 * thickness  # boxes have air above and below the letters
    assert "600 validation cells, accuracy" in " ".join(text.get_text() for text in figure.texts)
    assert len(matrix.texts) == (0 if n_labels > 20 else (confusion_of(truth, guess) >= 0.005).sum())


def confusion_of(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    table = np.zeros((truth.max() + 1,) * 2)
    np.add.at(table, (truth, guess), 1)
    return table / table.sum(1, keepdims=True)


@pytest.fixture
def predictions(tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Factory of a predictions table for the tiny cells, and their file."""
    import anndata

    def make(**columns: object) -> tuple[Path, Path]:
        counts = tiny_counts()
        obs = anndata.read_h5ad(counts).obs
        values = {"cell_id": list(obs.index)}
        values |= {name: [value] * len(obs) for name, value in columns.items()}
        pq.write_table(pa.table(values), tmp_path / "predictions.parquet")
        return tmp_path / "predictions.parquet", counts

    return make


def test_the_script_draws(drawn: Callable[..., str], predictions: Callable[..., tuple[Path, Path]]) -> None:
    table, counts = predictions(label="alpha", **{"probability:alpha": 0.7, "probability:beta": 0.2})
    said = drawn("plot_classification.py", "--predictions", table, "--cells", counts, "--title", "who")
    for words in ("who", "24 test cells, accuracy", "True label", "Predicted label", "calibration error", "alpha"):
        assert words in said
    assert "beta" in said  # a true label that is never predicted


def test_nothing_to_draw_is_said(drawn: Callable[..., str], predictions: Callable[..., tuple[Path, Path]]) -> None:
    table, counts = predictions(split="test")
    said = drawn("plot_classification.py", "--predictions", table, "--cells", counts)
    assert "Nothing to show: the model predicts no labels." in said
