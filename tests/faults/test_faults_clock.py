"""Clocks that jump, between jobs and during one: nothing is repeated for it, nothing stale is kept, nothing hangs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_project import DATA, OUT, lasting
from jobs import digests, environment, workflow

KIND = "clock"
YEAR = 365 * 86400
needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime (Debian: faketime)")


def age(paths, seconds: float) -> None:
    """Say of files that they were written so many seconds ago; in the future if negative."""
    for path in paths:
        when = time.time() - seconds
        os.utime(path, (when, when))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def to_be_done(project, targets) -> str:
    said = project.snakemake("--dry-run", *targets)
    return "" if "Nothing to be done" in said else said[-3000:]


def test_times_of_files_decide_nothing(reference, project, trials):
    """Results from before or after a jump of the clock are up to date; a changed input is seen."""
    inputs = [path for path in project.folder.iterdir() if path.suffix in {".h5ad", ".csv", ".yaml"}]
    for what, results, data in (("results of last year", YEAR, 0), ("inputs of next year", 0, -YEAR)):
        age(files(project.folder / OUT), results)
        age(inputs, data)
        said = to_be_done(project, reference.targets)
        trials.lost(KIND, what, f"would run again: {said}") if said else trials.survived(KIND, what)
    data = project.folder / DATA
    data.write_bytes(data.read_bytes() + b"more")
    age(files(project.folder / OUT), YEAR)
    age([data], YEAR - 60)
    said = to_be_done(project, reference.targets)
    assert "prepare_cells" in said
    trials.survived(KIND, "data that changed last year, after its results")


@needs_faketime
def test_a_workflow_over_jumps_of_the_clock(reference, fresh_project, trials, whole):
    if not whole:
        pytest.skip("only with --all-trials")
    project, targets = fresh_project("project"), reference.targets
    job = next(job for job in reference.jobs if job.rule == "export_embeddings")
    for jump, wanted in (("+400 days", job.inputs[:1]), ("-400 days", job.outputs[:1]), ("+0 days", targets)):
        command = ["faketime", "-f", jump.replace(" days", "d"), *workflow(*wanted)]
        done = subprocess.run(command, cwd=project.folder, env=environment(FAKETIME_DONT_FAKE_MONOTONIC="1"),
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        trials.survived(KIND, f"a workflow that goes on after a jump of {jump}")
    assert lasting(digests(project.folder / OUT)) == lasting(reference.digests)
    assert to_be_done(project, targets) == ""


@needs_faketime
@pytest.mark.parametrize("jump", ["+400d", "-400d"])
def test_a_training_during_which_the_clock_jumps(tiny_counts, tmp_path, trials, jump):
    counts, script = tiny_counts(), Path(__file__).resolve().parents[2] / "scripts/train_model.py"
    settings = '{"mode": "beta_vae", "max_epochs": 60, "patience": 60, "hidden_dims": [16], "latent_dim": 4}'
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"))
    (tmp_path / "clock").write_text("+0d")
    steady = environment()
    faked = environment(
        LD_PRELOAD=str(library), FAKETIME_TIMESTAMP_FILE=str(tmp_path / "clock"), FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )  # fmt: skip
    for name, env in (("steady", steady), ("jumping", faked)):
        (tmp_path / name).mkdir()
        words = [sys.executable, script, "--counts", counts, "--settings", settings, "--model", f"{name}/model.pt"]
        command = [*map(str, words), "--history", f"{name}/history.parquet"]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as training:
            while name == "jumping" and training.poll() is None and not (tmp_path / name / ".model.pt.lock").exists():
                time.sleep(0.01)
            (tmp_path / "clock").write_text(jump)
            said = training.communicate(timeout=300)[1]
        assert training.returncode == 0, said
        assert "saved" not in said
    for name in ("model.pt", "history.parquet"):
        assert (tmp_path / "steady" / name).read_bytes() == (tmp_path / "jumping" / name).read_bytes()
    rates = re.findall(r"([\d,.]+) cells/s", said)
    assert rates and all(float(rate.replace(",", "")) > 1 for rate in rates), shlex.quote(said)
    trials.survived(KIND, f"a training, {jump}")
