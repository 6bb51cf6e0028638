"""A finished training of a cluster that Snakemake has forgotten."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/train_model.py"
SETTINGS = {"mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "max_epochs": 2, "device": "cpu"}


@pytest.fixture
def train(tiny_counts, tmp_path):
    """Train into tmp_path/run; returns what the script said."""
    counts = tiny_counts()

    def run(job="7", **changed):
        command = [sys.executable, str(SCRIPT), "--counts", str(counts), "--settings", json.dumps(SETTINGS | changed)]
        command += ["--model", str(tmp_path / "run/model.pt"), "--history", str(tmp_path / "run/history.parquet")]
        environment = {k: v for k, v in os.environ.items() if k != "SLURM_JOB_ID"} | {"OMP_NUM_THREADS": "1"}
        environment |= {"SLURM_JOB_ID": job} if job else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def removed_by_snakemake(folder):
    content = {name: (folder / name).read_bytes() for name in ("model.pt", "history.parquet")}
    for name in content:
        (folder / name).unlink()
    return content


def test_a_job_takes_what_an_earlier_job_has_finished(train, tmp_path):
    assert "trained 2 epochs" in train()
    before = removed_by_snakemake(tmp_path / "run")
    said = train(job="8")
    assert f"an earlier job has made {tmp_path / 'run/model.pt'}, as asked for here" in said
    assert "trained" not in said
    assert removed_by_snakemake(tmp_path / "run") == before


def test_other_settings_and_damaged_files_are_trained_anew(train, tmp_path):
    train()
    removed_by_snakemake(tmp_path / "run")
    assert "trained 1 epochs" in train(max_epochs=1)
    kept = tmp_path / "run/.finished.model.pt/model.pt"
    assert kept.samefile(tmp_path / "run/model.pt")
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    removed_by_snakemake(tmp_path / "run")
    assert "trained 1 epochs" in train(max_epochs=1)


def test_without_a_scheduler_nothing_is_kept(train, tmp_path):
    train(job="")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["history.parquet", "model.pt"]
