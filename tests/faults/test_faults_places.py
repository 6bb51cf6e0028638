"""Folders that may not be written, other users, and names that few expect."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fault_project import DATA, OUT, lasting
from forked import Forks
from jobs import (
    as_other_user,
    digests,
    environment,
    give_away,
    mount,
    one_of_each_rule,
    protect,
    run,
    workflow,
)
from project import copy_project, small_config

FORBIDDEN = "no permission to write here"


def test_a_job_says_which_file_it_may_not_write(reference, project, trials, whole):
    give_away(project.folder)
    protect(project.folder / OUT)
    jobs = one_of_each_rule(reference.jobs)
    other = Forks(as_other_user())
    for job in jobs if whole else jobs[:3]:
        done = other.run(project.folder, job.command, f"{job.rule}.log")
        _judge(trials, job, done, "Permission denied")
    other.close()
    assert digests(project.folder / OUT) == reference.digests


def test_a_file_system_that_cannot_be_written(reference, project, forks, trials, whole):
    results = project.folder / OUT
    if os.geteuid() != 0 or mount("--bind", str(results), str(results)).returncode:
        pytest.skip("only root can mount a folder, and not on every machine")
    try:
        mount("-o", "remount,bind,ro", str(results)).check_returncode()
        jobs = one_of_each_rule(reference.jobs)
        for job in jobs if whole else jobs[3:]:
            done = forks.run(project.folder, job.command, f"{job.rule}.log")
            _judge(trials, job, done, "Read-only file system")
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=False)
    assert digests(results) == reference.digests


def _judge(trials, job, done, why):
    what = f"{job.rule}, {why}"
    named = any(f"{path}: {FORBIDDEN} ({why})" in done.said for path in job.outputs)
    if done.status == 1 and named and "Traceback" not in done.said:
        trials.survived("read-only", what)
    else:
        trials.lost("read-only", what, f"status {done.status}, says {done.said}")


def test_the_workflow_says_which_results_it_may_not_write(reference, project, trials):
    (project.folder / reference.jobs[-1].outputs[0]).unlink()
    give_away(project.folder)
    protect(project.folder / OUT)
    command = as_other_user(*workflow("--forcerun", reference.jobs[-1].rule, "--", *reference.targets))
    more = environment(HOME="/nonexistent", XDG_CACHE_HOME=str(project.folder / ".cache"))
    done = subprocess.run(command, cwd=project.folder, env=more, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert re.search(r"Write-protected output files for rule \w+|" + FORBIDDEN + "|Permission denied", said), said[
        -3000:
    ]
    assert OUT in said
    assert "Traceback" not in said
    trials.survived("read-only", "the whole workflow")


def test_another_user_without_a_home_gets_the_same_results(reference, fresh_project, trials, whole):
    if not whole:
        pytest.skip("only with --all-trials")
    project = fresh_project("project")
    give_away(project.folder)
    more = environment(HOME="/nonexistent", XDG_CACHE_HOME=str(project.folder / ".cache"))
    command = as_other_user(*workflow(*reference.targets))
    done = subprocess.run(command, cwd=project.folder, env=more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert lasting(digests(project.folder / OUT)) == lasting(reference.digests)
    assert {path.stat().st_uid for path in (project.folder / OUT).rglob("*")} == {65534}
    trials.survived("other user", "the whole workflow")


def test_names_with_quotes_dashes_and_letters_of_many_languages(reference, trials):
    """The reference itself lies and has run under such names."""
    named = {str(reference.folder), OUT, DATA, reference.jobs[0].command.partition(" scripts")[0]}
    assert all(re.search(r"['\"ä]", name) for name in named)
    assert all((reference.folder / path).is_file() for job in reference.jobs for path in job.outputs)
    for rule in {job.rule for job in reference.jobs}:
        trials.survived("odd path", rule)


@pytest.mark.parametrize("letters", ["x" * 255, "ü" * 127, "数" * 85])
def test_names_as_long_as_they_may_be(tmp_path, trials, whole, letters):
    if not whole:
        pytest.skip("only with --all-trials")
    (tmp_path / letters).mkdir()
    project = copy_project(tmp_path / letters)
    ending = ".h5ad"
    data = letters[: -len(ending)] + ending if letters.isascii() else letters[:-3] + ending
    (project.folder / "one.h5ad").rename(project.folder / data)
    name = "".join(map(str, range(10, 60)))  # Snakemake refuses wildcards that repeat themselves
    config = small_config(output=letters, model_defaults={}, models={name: {"mode": "pca", "latent_dim": 5}})
    config["datasets"] = {name: config["datasets"]["one"] | {"path": data}}
    run = f"{letters}/datasets/{name}/models/{name}/seed_1"
    project.snakemake(f"{run}/cell_embedding.parquet", f"{run}/figures/reconstruction.png", config=config)
    assert (project.folder / run / "figures/reconstruction.svg").is_file()
    trials.survived("odd path", f"names of {len(letters.encode())} bytes, {letters[0]}")


def test_output_files_with_the_longest_names(tmp_path, tiny_counts, trials):
    """Their temporary and lock files must have names that fit, too."""
    counts = tiny_counts()
    folder = tmp_path / "out"
    names = ["-" + "ü" * 123 + ".parquet", "m" * 252 + ".pt"]
    settings = '{"mode": "beta_vae", "max_epochs": 1, "hidden_dims": [8], "latent_dim": 2}'
    script = Path(__file__).resolve().parents[2] / "scripts/train_model.py"
    words = [sys.executable, script, "--counts", counts, "--settings", settings, "--model", names[1]]
    folder.mkdir()
    done = run(shlex.join([*map(str, words), f"--history={names[0]}"]), folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    trials.survived("odd path", "output files of 255 bytes")
