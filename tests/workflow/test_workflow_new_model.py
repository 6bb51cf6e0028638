"""The worked example of CONTRIBUTING.md, as it stands there: one model file, one settings file, one line."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow


def example():
    """File name -> code, as shown in the guide."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`(scripts/[\w/]+\.py)`[^\n]*\n```python\n(.*?)```", text, re.DOTALL))


def test_a_model_is_added_in_one_file(fresh, config):
    registry = "scripts/sclamp/config/registry.py"
    files = example()
    assert set(files) == {
        registry,
        "scripts/sclamp/config/linear_autoencoder.py",
        "scripts/sclamp/models/linear_autoencoder.py",
    }
    for name, code in files.items():
        path = fresh.folder / name
        if name == registry:
            path.write_text(
                path.read_text(encoding="utf-8").replace('    "pca": ', code + '    "pca": ', 1), encoding="utf-8"
            )
        else:
            path.write_text(code, encoding="utf-8")
    del config["model_defaults"]
    config["models"] = {"mine": {"mode": "linear_autoencoder", "latent_dim": 5, "max_epochs": 2}}
    fresh.snakemake("scores", config=config)
    table = pq.read_table(fresh.folder / "results/summary/scores.parquet").to_pandas()
    mine = table[table.model == "mine"]
    assert {"integration", "reconstruction"} <= set(mine.task)
    assert (mine.status == "ok").any()
