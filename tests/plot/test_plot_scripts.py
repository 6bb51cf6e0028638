"""The scripts draw what they are given, twice the same, and say what is wrong with it."""

import re
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sclamp.core.errors import UserError
from sclamp.core.files import write_embedding, write_table

Run = Callable[..., None]


def _words(svg: Path) -> str:
    """All text of an SVG."""
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8")))


def _same_again(run: Run, output: Path, *arguments: object) -> None:
    """Draw twice: both files exist, are not blank, and have the same bytes."""
    run(*arguments, "--output", output)
    first = output.read_bytes(), output.with_suffix(".svg").read_bytes()
    run(*arguments, "--output", output)
    assert (output.read_bytes(), output.with_suffix(".svg").read_bytes()) == first
    assert len(set(Image.open(output).convert("L").get_flattened_data())) > 20


def test_umap_has_a_panel_for_each_column(
    run_script: Run, tiny_counts: Callable[..., Path], layout: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "figures/umap.png"
    _same_again(
        run_script, output, "plot_umap.py", "--umap", layout(), "--cells", tiny_counts(), "--title", "a <model>",
        "--settings", '{"dpi": 80}',
    )  # fmt: skip
    words = _words(output.with_suffix(".svg"))
    for text in ("Cell type", "Batch", "Split", "alpha", "train", "120 cells", "a &lt;model&gt;"):
        assert text in words
    assert "<image" in output.with_suffix(".svg").read_text(), "points are rasterised"


def test_umap_without_labels_or_batches_and_of_a_sample(
    run_script: Run, tiny_counts: Callable[..., Path], layout: Callable[..., Path], tmp_path: Path
) -> None:
    path = tiny_counts(one_batch=True)
    data = ad.read_h5ad(path)
    data.obs.loc[data.obs_names[:60], "label"] = np.nan
    data.write_h5ad(path)
    run_script("plot_umap.py", "--umap", layout(80), "--cells", path, "--output", tmp_path / "u.png")
    words = _words(tmp_path / "u.svg")
    assert "80 of 120 cells drawn" in words and "Split" in words and "Batch" not in words


def test_many_cell_types_get_a_legend(
    run_script: Run, tiny_counts: Callable[..., Path], layout: Callable[..., Path], tmp_path: Path
) -> None:
    path = tiny_counts()
    data = ad.read_h5ad(path)
    data.obs["label"] = pd.Categorical(
        [f"a rather long name of a type {i % 30}" if i % 40 else np.nan for i in range(120)]
    )
    data.write_h5ad(path)
    run_script("plot_umap.py", "--umap", layout(), "--cells", path, "--output", tmp_path / "u.png")
    words = _words(tmp_path / "u.svg")
    assert "a rather long ... a type 7" in words and "not known" in words


def test_umap_errors(
    run_script: Run, tiny_counts: Callable[..., Path], layout: Callable[..., Path], tmp_path: Path
) -> None:
    write_table(tmp_path / "bad.parquet", {"cell_id": ["cell0"], "umap1": [0.0]})
    output = ("--output", tmp_path / "u.png")
    with pytest.raises(UserError, match=r"column 'umap_1' does not exist; did you mean 'umap1'"):
        run_script("plot_umap.py", "--umap", tmp_path / "bad.parquet", "--cells", tiny_counts(), *output)
    with pytest.raises(UserError, match="20 of 140 cells are not in this file; the first is 'cell120'"):
        run_script("plot_umap.py", "--umap", layout(140), "--cells", tiny_counts(), *output)
    with pytest.raises(UserError, match=r"--settings\.dpi: input should be greater than or equal to 50"):
        run_script("plot_umap.py", "--umap", layout(), "--cells", tiny_counts(), "--settings", '{"dpi": 1}', *output)


def test_training_of_one_run(run_script: Run, history: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "training.png"
    _same_again(run_script, output, "plot_training.py", "--history", f"direct={history()}", "--settings", '{"dpi": 80}')
    words = _words(output.with_suffix(".svg"))
    for text in ("direct", "kept: epoch 31", "warm-up of beta", "Reconstruction", "Learning rate", "starts at 1,000"):
        assert text in words


def test_phases_stand_side_by_side(run_script: Run, history: Callable[..., Path], tmp_path: Path) -> None:
    one, two = history("one.parquet"), history("two.parquet", parts=("reconstruction", "kl_genes"))
    run_script("plot_training.py", "--history", f"cells={one}", f"genes={two}", "--output", tmp_path / "t.png")
    words = _words(tmp_path / "t.svg")
    for text in ("cells", "genes", "KL genes", "not part of this loss"):
        assert text in words


def test_a_single_epoch_can_be_drawn(run_script: Run, history: Callable[..., Path], tmp_path: Path) -> None:
    run_script("plot_training.py", "--history", f"short={history(epochs=1)}", "--output", tmp_path / "t.png")
    assert (tmp_path / "t.svg").exists()


def test_training_errors(run_script: Run, tmp_path: Path) -> None:
    write_table(tmp_path / "h.parquet", {"epoch": [0], "explained_variance": [0.5]})
    with pytest.raises(UserError) as caught:
        run_script("plot_training.py", "--history", f"pca={tmp_path / 'h.parquet'}", "--output", tmp_path / "t.png")
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["train_loss", "val_loss"]
    write_table(tmp_path / "h.parquet", {"epoch": np.empty(0), "train_loss": np.empty(0), "val_loss": np.empty(0)})
    with pytest.raises(UserError, match="no epoch is recorded"):
        run_script("plot_training.py", "--history", f"x={tmp_path / 'h.parquet'}", "--output", tmp_path / "t.png")


def test_scores_show_every_state(run_script: Run, scores: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    write_table(tmp_path / "scores.parquet", scores())
    output = tmp_path / "scores.png"
    arguments = ("--scores", tmp_path / "scores.parquet", "--dataset", "pancreas", "--settings", '{"dpi": 80}')
    _same_again(run_script, output, "plot_scores.py", *arguments)
    words = _words(output.with_suffix(".svg"))
    for text in (
        "held-out cells",
        "all cells",
        "harmony",
        "▼ weak",
        "random",
        "n/a",
        "✕ failed",
        "(2 of 3)",
        "MSE ↓",
        "0.740",
    ):
        assert text in words
    assert "control_random" not in words and "nan" not in words


def test_genes_are_named_and_coloured(run_script: Run, tiny_counts: Callable[..., Path], tmp_path: Path) -> None:
    counts = tiny_counts(n_genes=60)
    genes = [f"G{i:04d}" for i in range(60)]
    vectors = np.random.default_rng(0).normal(size=(60, 6))
    write_embedding(tmp_path / "gene_embedding.parquet", "gene_id", genes, vectors, {})
    write_table(tmp_path / "hvg.parquet", {"gene_id": genes, "symbol": [f"SYM{i}" for i in range(60)]})
    files = (
        "--embedding",
        tmp_path / "gene_embedding.parquet",
        "--counts",
        counts,
        "--genes",
        tmp_path / "hvg.parquet",
    )
    output = tmp_path / "genes.png"
    _same_again(run_script, output, "plot_genes.py", *files, "--title", "direct", "--settings", '{"dpi": 80}')
    words = _words(output.with_suffix(".svg"))
    assert "60 genes" in words and "SYM" in words and "G00" not in words
    for kind in ("alpha", "beta", "delta"):
        assert kind in words
    (tmp_path / "markers.tsv").write_text("cell_type\tgene\nmast\tSYM7\n")
    run_script("plot_genes.py", *files, "--markers", tmp_path / "markers.tsv", "--output", output)
    words = _words(output.with_suffix(".svg"))
    assert "mast" in words and "SYM7" in words and "alpha" not in words


def test_a_model_without_genes_has_no_map(run_script: Run, tiny_counts: Callable[..., Path], tmp_path: Path) -> None:
    write_embedding(tmp_path / "gene_embedding.parquet", "gene_id", ["G0000", "G0001"], np.ones((2, 3)), {})
    write_table(tmp_path / "hvg.parquet", {"gene_id": ["G0000"], "symbol": ["A"]})
    with pytest.raises(UserError, match="2 genes, at least 3 are needed; does the model have a gene side"):
        run_script(
            "plot_genes.py", "--embedding", tmp_path / "gene_embedding.parquet", "--counts", tiny_counts(),
            "--genes", tmp_path / "hvg.parquet", "--output", tmp_path / "g.png",
        )  # fmt: skip
