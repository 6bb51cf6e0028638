"""The worked example of CONTRIBUTING.md, as it stands there: one model file, one settings file, one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "scripts/sclamp/config/registry.py"
pytestmark = pytest.mark.workflow


def example():
    """File name -> code, as shown in the guide."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`(scripts/[\w/]+\.py)`[^\n]*\n```python\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def extended(fresh):
    """A project in which the guide was followed."""
    files = example()
    assert set(files) == {
        REGISTRY,
        "scripts/sclamp/config/linear_autoencoder.py",
        "scripts/sclamp/models/linear_autoencoder.py",
    }
    for name, code in files.items():
        path = fresh.folder / name
        if name == REGISTRY:
            code = path.read_text(encoding="utf-8").replace('    "pca": ', code + '    "pca": ', 1)
        path.write_text(code, encoding="utf-8")
    return fresh


def run(folder, *command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_model_is_added_in_one_file(extended, config):
    del config["model_defaults"]
    config["models"] = {"mine": {"mode": "linear_autoencoder", "latent_dim": 5, "max_epochs": 2}}
    config["evaluate"] |= {"controls": ["random"], "left_out_genes": 0}
    extended.snakemake(config=config)
    table = pq.read_table(extended.folder / "results/summary/scores.parquet").to_pandas()
    mine = table[table.model == "mine"]
    assert {"integration", "reconstruction"} <= set(mine.task)
    assert (mine.status == "ok").any()
    assert "linear_autoencoder" in (extended.folder / "results/report.html").read_text(encoding="utf-8")


def test_the_example_keeps_the_contract_of_every_mode(extended):
    for name in ("tests/models", "tests/support"):
        shutil.copytree(ROOT / name, extended.folder / name)
    for name in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, extended.folder / name)
    contract = ("tests/models/test_models_contract.py", "-k", "linear_autoencoder")
    done = run(extended.folder, "-m", "pytest", *contract, "-p", "no:xdist", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 5


def test_the_example_is_in_our_style(extended):
    shutil.copy(ROOT / "pyproject.toml", extended.folder)
    files = list(example())
    assert run(extended.folder, "-m", "ruff", "check", *files).stdout == "All checks passed!\n"
    formatted = run(extended.folder, "-m", "ruff", "format", "--check", *files)
    assert formatted.returncode == 0, formatted.stdout
