"""The scripts check_dataset, prepare_cells and select_genes from the command line; warnings are errors there too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "error", str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_three_scripts_in_a_row(tmp_path, raw_file):
    settings = json.dumps({"path": str(raw_file()), "label": "cell_type", "batch": "donor"})
    outputs = {
        name: str(tmp_path / name) for name in ("checks.json", "checks.txt", "cells.h5ad", "g.parquet", "g.h5ad")
    }
    checked = run(
        "check_dataset.py", "--name", "pancreas", "--settings", settings,
        "--gene-selections", '{"all": {"flavor": "all"}}',
        "--output", outputs["checks.json"], "--table", outputs["checks.txt"], "--code", "abc",
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    report = json.loads(Path(outputs["checks.json"]).read_text())
    assert report["status"] == "ok" and report["dataset"] == "pancreas" and report["provenance"]["code"] == "abc"
    assert Path(outputs["checks.txt"]).read_text() == checked.stderr
    prepared = run("prepare_cells.py", "--settings", settings, "--output", outputs["cells.h5ad"])
    assert prepared.returncode == 0, prepared.stderr
    selected = run(
        "select_genes.py", "--cells", outputs["cells.h5ad"], "--settings", '{"flavor": "all"}',
        "--table", outputs["g.parquet"], "--counts", outputs["g.h5ad"],
    )  # fmt: skip
    assert selected.returncode == 0 and "genes by 'all' with 100.0% of all counts; packed as uint8" in selected.stderr


def test_errors_end_the_check_with_the_table(tmp_path, raw_file):
    settings = json.dumps({"path": str(raw_file()), "batch": "doner"})
    found = run(
        "check_dataset.py", "--name", "x", "--settings", settings,
        "--output", str(tmp_path / "checks.json"), "--table", str(tmp_path / "checks.txt"),
    )  # fmt: skip
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert found.stderr.splitlines()[1].startswith("ERROR   batch     batch: obs column 'doner' does not exist")
    assert json.loads((tmp_path / "checks.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ('{"pat": "x"}', ["--settings.path: is missing.", "--settings.pat: unknown key; did you mean 'path'?"]),
        ('{"path": "none.h5ad"}', ["'none.h5ad' does not exist"]),
        ("none.yaml", ["'none.yaml' is neither JSON nor an existing file"]),
    ],
)
def test_bad_settings_of_a_script(tmp_path, settings, parts):
    found = run("prepare_cells.py", "--settings", settings, "--output", str(tmp_path / "cells.h5ad"))
    assert found.returncode == 1 and "Traceback" not in found.stderr and not list(tmp_path.iterdir())
    for part in parts:
        assert part in found.stderr
