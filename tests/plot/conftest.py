"""Tables for figures: layouts, histories, scores."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sclamp.core.files import write_table


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the main function of a script of scripts/ with the given arguments, in this process."""
    import importlib.util
    import sys

    def run(name: str, *arguments: object) -> None:
        path = Path(__file__).parents[2] / "scripts" / name
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        module.main()

    return run


@pytest.fixture
def drawn(run_script: Callable[..., None], tmp_path: Path) -> Callable[..., str]:
    """Draw with a script twice: the same bytes, not blank. Returns all text of the SVG, joined by single spaces."""

    def draw(name: str, *arguments: object) -> str:
        output = tmp_path / "figures" / "x.png"
        found = []
        for _ in range(2):
            run_script(name, *arguments, "--settings", '{"dpi": 60}', "--output", output)
            found.append((output.read_bytes(), output.with_suffix(".svg").read_bytes()))
        assert found[0] == found[1]
        with Image.open(output) as image:
            assert len(set(image.convert("L").get_flattened_data())) > 10
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", output.with_suffix(".svg").read_text(encoding="utf-8"))
        return html.unescape(" ".join(" ".join(texts).split()))

    return draw


@pytest.fixture
def layout(tmp_path: Path) -> Callable[..., Path]:
    """Factory of umap.parquet: clusters of 40 cells around a ring."""

    def make(n_cells: int = 120, name: str = "umap.parquet") -> Path:
        rng = np.random.default_rng(0)
        angle = 2 * np.pi * (np.arange(n_cells) // 40) / max(n_cells // 40, 1)
        at = np.column_stack([np.cos(angle), np.sin(angle)]) * 10 + rng.normal(size=(n_cells, 2))
        ids = [f"cell{i}" for i in range(n_cells)]
        write_table(tmp_path / name, {"cell_id": ids, "umap_1": at[:, 0].astype("f4"), "umap_2": at[:, 1].astype("f4")})
        return tmp_path / name

    return make


@pytest.fixture
def history(tmp_path: Path) -> Callable[..., Path]:
    """Factory of history.parquet as train_model.py writes it; validation every second epoch."""

    def make(name: str = "history.parquet", epochs: int = 40, parts: tuple[str, ...] = ("reconstruction",)) -> Path:
        epoch = np.arange(epochs)
        loss = 100 + 900 * np.exp(-epoch / 4)
        columns: dict[str, Any] = {"epoch": epoch, "train_loss": loss}
        columns |= {f"train_{part}": loss * 0.9 for part in parts}
        columns |= {
            c.replace("train", "val"): np.where(epoch % 2, v, np.nan) for c, v in columns.items() if c != "epoch"
        }
        columns |= {"beta": np.clip(epoch / 10, 0, 1), "learning_rate": 1e-3 * 0.99**epoch, "is_best": epoch == 31}
        write_table(tmp_path / name, columns)
        return tmp_path / name

    return make


TOTALS = {"harmony": 0.74, "pca": 0.62, "weak": 0.3, "control_random": 0.35, "control_label_onehot": 0.94}


@pytest.fixture
def scores() -> Callable[..., pd.DataFrame]:
    """Factory of the score table: one failed score, one not applicable, several seeds."""

    def make(seeds: tuple[int, ...] = (1, 2, 3)) -> pd.DataFrame:
        rows = []
        for model, total in TOTALS.items():
            for seed in seeds:
                for cells in ("all", "held_out"):
                    value = total + 0.01 * (seed - 2)
                    for metric in ("total", "bio", "batch", "nmi_kmeans", "nmi_leiden", "ilisi_knn"):
                        rows.append((model, seed, cells, "integration", metric, value, "ok", ""))
                    rows.append((model, seed, cells, "integration", "bras", np.nan, "not_applicable", "one batch"))
                decodes = model == "weak"
                rows.append(
                    (model, seed, "held_out", "reconstruction", "mse", 2.5 + seed / 10, "ok", "")
                    if decodes and seed != 2
                    else (model, seed, "held_out", "reconstruction", "mse", np.nan, "failed", "not a <finite> number")
                )
        names = ["model", "seed", "cells", "task", "metric", "value", "status", "reason"]
        return pd.DataFrame(rows, columns=names).assign(dataset="pancreas", implementation="ours")

    return make
