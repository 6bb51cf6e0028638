"""Profiles and what jobs ask for."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sclamp.resources import memory, minutes
from sclamp.workflow import plan

ROOT = Path(__file__).resolve().parents[2]


def link(config_home: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"XDG_CONFIG_HOME": str(config_home)}
    command = ["make", "slurm-profile"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_slurm_profile_is_linked_once_and_overwrites_nothing(tmp_path):
    target = tmp_path / "snakemake/slurm"
    assert link(tmp_path).returncode == 0
    assert target.resolve() == ROOT / "profiles/slurm"
    assert "in place" in link(tmp_path).stdout
    target.unlink()
    target.mkdir()
    (target / "config.yaml").write_text("mine: true\n", encoding="utf-8")
    refused = link(tmp_path)
    assert refused.returncode != 0
    assert "exists and is not ours" in refused.stderr
    assert (target / "config.yaml").read_text(encoding="utf-8") == "mine: true\n"


def test_retries_stand_in_the_slurm_profile_only():
    assert yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))["retries"] >= 1
    rules = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")]
    assert not any("retries" in text for text in rules)


@pytest.fixture
def doubled():
    return plan(
        {
            "datasets": {"d": {"path": "x.h5ad"}},
            "models": {"m": {"mode": "pca"}},
            "resources": {"memory_scale": 2.0, "runtime_scale": 3.0},
        }
    )


def test_memory_and_time_grow_with_data_attempt_and_scale(doubled):
    mem_mb, runtime = memory(doubled, base=1000, per_input_mb=2), minutes(doubled, base=10, per_input_gb=5)
    small, large = SimpleNamespace(size_mb=100), SimpleNamespace(size_mb=4000)
    assert mem_mb(None, small, 1) == (1000 + 2 * 100) * 2
    assert mem_mb(None, large, 1) == (1000 + 2 * 4000) * 2
    assert mem_mb(None, small, 3) == (1000 + 2 * 100) * 2 * 2
    assert runtime(None, large, 1) == (10 + 5 * 4) * 3 + 1
    assert runtime(None, large, 2) == (10 + 5 * 4) * 3 * 2 + 1
