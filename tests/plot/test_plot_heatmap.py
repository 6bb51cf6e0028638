"""The marker heatmap: expression equals a dense computation, and rows and marks stand where they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.evaluate.read import HELD_OUT as SCORED_ON
from sclamp.plot import heatmap
from sclamp.plot.heatmap import HELD_OUT, Means, mean_expression, top_genes

TYPES = ("alpha", "beta", "delta")


def markers(types: tuple[str, ...] = TYPES, n: int = 12) -> pd.DataFrame:
    """A table like gene_markers.parquet, worst first; ranks by difference are missing for delta."""
    rows = [
        (kind, f"G{(7 * t + i) % 40:04d}", i + 1, 1.0 - i / 10, 0.5, pd.NA if kind == "delta" else 10 * (i + 1))
        for t, kind in enumerate(types)
        for i in reversed(range(n))
    ]
    columns = ["cell_type", "gene_id", "rank", "proximity", "difference", "difference_rank"]
    return pd.DataFrame(rows, columns=columns).astype({"difference_rank": "Int32"})


def _dense(path: Path, genes: list[str], splits: tuple[str, ...]) -> pd.DataFrame:
    """Genes x types, by scipy-free arithmetic on the whole matrix."""
    data = ad.read_h5ad(path)
    x = pd.DataFrame(data.X.toarray(), columns=data.var_names, index=data.obs_names)
    x = np.log1p(x.div(data.obs["library_size"], axis=0) * 1e4)[data.obs["split"].isin(splits)]
    x = x.loc[data.obs.loc[x.index, "label"].notna()]
    z = ((x - x.mean()) / x.std(ddof=0))[genes]
    return z.groupby(data.obs.loc[x.index, "label"].astype(str)).mean().T


def test_expression_equals_a_dense_computation(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts(n_cells=200, n_genes=40)
    genes = ["G0007", "G0001", "G0007", "G0039"]
    means = mean_expression(path, genes)
    assert means.types == list(TYPES) and means.held_out and means.n_cells == 60
    np.testing.assert_allclose(means.values, _dense(path, genes, ("val", "test")).to_numpy(), atol=1e-6)
    assert HELD_OUT == SCORED_ON


def test_cells_without_a_label_do_not_count_and_a_type_without_cells_is_nan(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts(n_cells=200, n_genes=40)
    data = ad.read_h5ad(path)
    data.obs.loc[data.obs_names[:50], "label"] = np.nan
    data.obs.loc[data.obs["label"] == "beta", "split"] = "train"
    data.write_h5ad(path)
    means = mean_expression(path, ["G0003"])
    assert np.isnan(means.values[0, 1])
    np.testing.assert_allclose(
        means.values[0, [0, 2]], _dense(path, ["G0003"], ("val", "test")).to_numpy()[0], atol=1e-6
    )


def test_without_held_out_cells_all_count(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts(n_cells=80, n_genes=40, splits=(1.0, 0.0, 0.0))
    means = mean_expression(path, ["G0003"])
    assert (means.n_cells, means.held_out) == (80, False)
    np.testing.assert_allclose(means.values, _dense(path, ["G0003"], ("train",)).to_numpy(), atol=1e-6)


def test_a_gene_of_another_selection_is_named(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts(n_genes=40)
    with pytest.raises(
        UserError, match=r"1 of 2 marker genes are not in this file; the first is 'TP53'\. Was the model"
    ):
        mean_expression(path, ["G0001", "TP53"])


def test_the_nearest_genes_come_by_type_and_rank_and_fewer_of_many_types() -> None:
    best = top_genes(markers(("beta", "Alpha")))
    assert best["cell_type"].tolist() == ["Alpha"] * 5 + ["beta"] * 5
    assert best["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    assert best["difference_rank"].dtype == "float64"
    assert top_genes(markers()).query("cell_type == 'delta'")["difference_rank"].isna().all()
    assert top_genes(markers(tuple(f"type {i}" for i in range(60)))).groupby("cell_type").size().eq(2).all()


def _figure(types: tuple[str, ...] = TYPES) -> tuple[Any, pd.DataFrame]:
    best = top_genes(markers(types))
    values = np.arange(len(best) * len(types), dtype=float).reshape(len(best), -1) / 10
    values[:, -1] = np.nan
    symbols = {gene: f"SYM{gene[1:]}" for gene in best["gene_id"]}
    return heatmap.draw(best, Means(values, list(types), 50, True), symbols, "direct"), best


def test_a_row_of_colours_per_gene_and_grey_for_a_type_without_cells() -> None:
    figure, best = _figure()
    axes = figure.axes[0]
    rows = [mesh for mesh in axes.collections if mesh.cmap.name == heatmap.COLOURS]
    assert len(rows) == len(best) == 15
    np.testing.assert_allclose(np.ma.compressed(rows[2].get_array()), [0.6, 0.7])
    assert len(axes.collections) == 30, "each row has a type without cells"
    names = [text.get_text() for text in axes.texts]
    assert names[:15] == [f"SYM{gene[1:]}" for gene in best["gene_id"]]
    assert names[15:] == list(TYPES)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(TYPES)


def test_a_dot_marks_genes_that_the_type_expresses_most() -> None:
    figure, _ = _figure()
    axes = figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [0.5, 0.5, 1.5, 1.5]  # ranks 10 and 20 of alpha and beta
    assert "(4 of 10)" in figure.legends[0].get_texts()[0].get_text()
    tops = sorted({round(float(v), 6) for dot in dots for v in dot.get_ydata()})
    assert tops[0] == pytest.approx(heatmap.ROW / 2) and tops[1] == pytest.approx(1.5 * heatmap.ROW)


def test_words_do_not_overlap_with_many_types() -> None:
    figure, _ = _figure(tuple(f"CD{i}-positive, alpha-beta memory T cell {i}" for i in range(60)))
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in [*figure.axes[0].texts, *figure.axes[0].get_xticklabels()]]
    assert min(box.x0 for box in boxes) >= 0
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[max(0, i - 3) : i])
    subtitle = figure.texts[1].get_window_extent(renderer)
    assert not any(box.overlaps(subtitle) for box in boxes)
    assert figure.axes[0].collections[0].get_rasterized()


def _files(tiny_counts: Callable[..., Path], tmp_path: Path, table: pd.DataFrame) -> list[object]:
    write_table(tmp_path / "gm.parquet", table)
    genes = [f"G{i:04d}" for i in range(40)]
    write_table(tmp_path / "hvg.parquet", {"gene_id": genes, "symbol": [f"S{g[1:]}" for g in genes]})
    return ["--gene-markers", tmp_path / "gm.parquet", "--counts", tiny_counts(n_genes=40), "--genes",
            tmp_path / "hvg.parquet"]  # fmt: skip


def test_the_script_draws_the_same_twice(
    drawn: Callable[..., str], tiny_counts: Callable[..., Path], tmp_path: Path
) -> None:
    words = drawn("plot_markers.py", *_files(tiny_counts, tmp_path, markers()), "--title", "direct")
    for text in ("direct", "5 nearest genes of each cell type; 36 held-out cells", "S0007", "mean z-score", *TYPES):
        assert text in words


def test_a_model_without_genes_and_data_without_labels(
    drawn: Callable[..., str], tiny_counts: Callable[..., Path], tmp_path: Path
) -> None:
    words = drawn("plot_markers.py", *_files(tiny_counts, tmp_path, markers().iloc[:0]))
    assert "the model has no gene embedding" in words
    files = _files(tiny_counts, tmp_path, markers())
    data = ad.read_h5ad(tmp_path / "tiny.h5ad")
    del data.obs["label"]
    data.write_h5ad(tmp_path / "tiny.h5ad")
    assert "has no cell types" in drawn("plot_markers.py", *files)
