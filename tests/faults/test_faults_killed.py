"""Jobs and workflows killed at random moments: what is there is whole, and the same command ends as if undisturbed.

Rules are those that the workflow itself names: a new one is tried without a line here.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from fault_project import OUT, lasting
from fault_trials import Trials
from forked import Forks, Result
from jobs import Job, digests, ended, environment, one_of_each_rule, strike, workflow
from project import Project

KIND = "killed"
SCRIPT = Path(__file__).resolve().parents[2] / "scripts/train_model.py"
MAY_STAY = ("resume.pt", ".model.pt.lock")
"""What the next training goes on from, and a lock that ends with its process."""
CAUGHT = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SIGNALS = (signal.SIGKILL, *CAUGHT)


@pytest.mark.parametrize("part", range(4))
def test_a_job_killed_at_any_moment_leaves_whole_files_and_runs_again(reference, project, forks, trials, part):
    for place, job in enumerate(one_of_each_rule(reference.jobs)):
        if place % 4 == part:
            _try_job(Trial(project, job, reference.digests, forks), trials)


def test_every_rule_is_tried(reference, whole):
    if not whole:
        pytest.skip("only some rules are tried without --all-trials")
    files = (reference.folder / "workflow/rules").glob("*.smk")
    pattern = re.compile(r"^(?:use rule \w+ as|rule) (\w+)", re.MULTILINE)
    rules = {name for path in files for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert len(rules) > 30
    untried = rules - {job.rule for job in reference.jobs}
    assert untried == set(), "let config_of in fault_project.py ask for something that these rules make"


def test_a_training_struck_again_and_again_ends_with_the_same_bytes(forks, tiny_counts, tmp_path, trials):
    settings = {"mode": "beta_vae", "max_epochs": 120, "patience": 120, "hidden_dims": [16], "latent_dim": 4}
    words = ["python", str(SCRIPT), "--counts", str(tiny_counts()), "--settings", json.dumps(settings)]

    def command(name: str) -> str:
        return shlex.join([*words, "--model", f"{name}/model.pt", "--history", f"{name}/history.parquet"]) + " > log"

    usual = forks.run(tmp_path, command("steady"), "steady.log")
    assert usual.status == 0, usual.said
    resumed = 0
    for place in range(trials.number(3, 24)):
        number = SIGNALS[place % len(SIGNALS)]
        moment = trials.random.uniform(0.3, 0.9) * usual.seconds
        struck = forks.run(tmp_path, command("struck"), "struck.log", number, partial(_later, moment))
        resumed += "going on at epoch" in struck.said
        what = f"training, {number.name} after {moment:.2f} s: status {struck.status}"
        if struck.status not in (0, -number, 128 + number):
            trials.lost(KIND, what, struck.said)
        elif struck.struck:
            trials.survived(KIND, what)
    ended_well = forks.run(tmp_path, command("struck"), "struck.log")
    assert ended_well.status == 0, ended_well.said
    for name in ("model.pt", "history.parquet"):
        assert (tmp_path / "struck" / name).read_bytes() == (tmp_path / "steady" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "struck").iterdir()) == ["history.parquet", "model.pt"]
    print(f"{resumed} starts went on from resume.pt")


@pytest.mark.parametrize("scope", ["group", "main"])
def test_a_workflow_killed_at_any_moment_ends_like_an_undisturbed_one(reference, fresh_project, trials, whole, scope):
    """All its processes are struck, as by a scheduler or Ctrl-C, or Snakemake's own: its jobs then live on."""
    if scope == "main" and not whole:
        pytest.skip("only with --all-trials")
    project = fresh_project("project")
    usual = sum(job.seconds for job in reference.jobs) / 2 + 5
    numbers = trials.random.permutation([*SIGNALS, *SIGNALS])[: trials.number(1, 6)]
    moments = []
    for number in map(signal.Signals, numbers):
        moment = trials.random.uniform(0.1, 0.9) * usual / len(numbers)
        command = workflow("--unlock", *reference.targets)
        subprocess.run(command, cwd=project.folder, env=environment(), capture_output=True, check=True)
        when = partial(_later, moment)
        status = strike(workflow(*reference.targets), project.folder, number, when, group=scope == "group")
        moments.append(f"{number.name} to its {scope} after {moment:.1f} s: status {status}")
    project.snakemake("--unlock")
    said = project.snakemake(*reference.targets, check=False)
    ended(project.folder)
    expected, found = lasting(reference.digests), lasting(digests(project.folder / OUT))
    expected = {path: digest for path, digest in expected.items() if not path.startswith("datasets/two/")}  # not asked
    wrong = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    for moment in moments:
        if wrong:
            trials.lost(KIND, f"workflow, {moment}", f"then wrong: {wrong}; {said[-1500:]}")
        else:
            trials.survived(KIND, f"workflow, {moment}")
    assert "Nothing to be done" in project.snakemake("--dry-run", *reference.targets)


def _later(moment: float, seconds: float) -> bool:
    return seconds >= moment


class Trial(NamedTuple):
    """What is struck. expected: digests of all results of the undisturbed project."""

    project: Project
    job: Job
    expected: dict[str, str]
    forks: Forks


def _try_job(trial: Trial, trials: Trials) -> None:
    """Learn how long a job takes, strike it at some moments, run it again after each."""
    project, job = trial.project, trial.job
    outputs = [project.folder / path for path in job.outputs]
    folders = {path.parent for path in outputs}
    _remove(outputs)
    usual = trial.forks.run(project.folder, job.command, job.log)
    assert (usual.status, digests(project.folder / OUT)) == (0, trial.expected), f"{job.rule}: {usual.said}"
    numbers = trials.random.permutation(SIGNALS)[: trials.number(1, len(SIGNALS))]
    for place, number in enumerate(map(signal.Signals, numbers)):
        _remove(outputs)
        before = {folder: set(folder.iterdir()) for folder in folders}
        moment = trials.random.uniform(0.02, 0.9) * usual.seconds

        def at_first_file(_: float, before: dict[Path, set[Path]] = before) -> bool:
            """When most can go wrong."""
            return any(set(folder.iterdir()) - known for folder, known in before.items())

        due, when = partial(_later, moment), f"after {moment:.2f} of {usual.seconds:.2f} s"
        if (place + len(job.rule)) % 2:
            due, when = at_first_file, "at the first file"
        struck = trial.forks.run(project.folder, job.command, job.log, number, due)
        _judge(trial, number, struck, f"{job.rule}, {number.name} {when}", trials)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _judge(trial: Trial, number: signal.Signals, struck: Result, what: str, trials: Trials) -> None:
    """Look at what is there after a strike, and at what the same command makes of it."""
    (project, job, expected, forks), status = trial, struck.status
    there = digests(project.folder / OUT)
    half = [path for path in there.keys() & expected.keys() if there[path] != expected[path]]
    left = sorted(path for path in there.keys() - expected.keys() if not path.endswith(MAY_STAY))
    again = forks.run(project.folder, job.command, job.log)
    found = digests(project.folder / OUT)
    if half:
        trials.lost(KIND, what, f"half written: {half}")
    elif status == 0 and there != expected:
        trials.lost(KIND, what, "status 0, but files are missing")
    elif status not in (0, -number, 128 + number):
        trials.lost(KIND, what, f"status {status}: {struck.said}")
    elif left and number in CAUGHT:
        trials.lost(KIND, what, f"left behind: {left}")
    elif again.status or found != expected:
        wrong = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
        trials.lost(KIND, what, f"run again: status {again.status}, wrong: {wrong}, log: {again.said}")
    elif struck.struck:
        trials.survived(KIND, f"{what}: status {status}")
