"""What the tests of gene priors share: running a script in this process, and a table of selected genes."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sclamp.core.files import write_table

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call the main function of a script with arguments; settings (a dict) become --settings."""

    def run(name: str, settings: dict[str, Any], *arguments: Any) -> None:
        spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, "--settings", json.dumps(settings), *map(str, arguments)])
        module.main()

    return run


@pytest.fixture
def selection(tmp_path: Path) -> Callable[..., Path]:
    """Factory of genes/SELECTION.parquet: ids, symbols, shares of all counts (equal by default), unselected genes."""

    def make(
        ids: Sequence[str], symbols: Sequence[str] | None = None, shares: Sequence[float] | None = None,
        unselected: Sequence[str] = (), name: str = "genes.parquet",
    ) -> Path:  # fmt: skip
        every = [*ids, *unselected]
        share = list(shares or np.full(len(ids), 0.5 / len(ids))) + [0.01] * len(unselected)
        columns = {
            "gene_id": every,
            "symbol": [*(symbols or ids), *unselected],
            "selected": [True] * len(ids) + [False] * len(unselected),
            "umi_share": share,
        }
        write_table(tmp_path / name, columns)
        return tmp_path / name

    return make
