"""Jobs and workflows killed at random moments: what is there is whole, and the same command ends as if undisturbed.

Rules are those that the workflow itself names: a new one is tried without a line here.
"""

from __future__ import annotations

import signal

import pytest
from fault_project import OUT
from fault_trials import Trials
from jobs import Job, digests, one_of_each_rule, run, strike
from project import Project

KIND = "killed"
CAUGHT = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SIGNALS = (signal.SIGKILL, *CAUGHT)
TARGET_RULES = {"all", "checks", "models", "scores", "held_out"}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_job_killed_at_any_moment_leaves_whole_files_and_runs_again(reference, project, trials, whole, number):
    for place, job in enumerate(one_of_each_rule(reference.jobs)):
        if whole or place % len(SIGNALS) == SIGNALS.index(number):
            _try_job(project, job, number, reference.digests, trials)


def test_every_rule_is_tried(reference, whole):
    if not whole:
        pytest.skip("only some rules are tried without --all-trials")
    listed = Project(reference.folder).snakemake("--list-rules").split("\n")
    rules = {line.strip() for line in listed if line.strip().isidentifier()}
    untried = rules - {job.rule for job in reference.jobs} - TARGET_RULES
    assert len(rules) > 30
    assert untried == set(), "let all_rules_config() in conftest.py ask for something that these rules make"


def _try_job(project: Project, job: Job, number: signal.Signals, expected: dict[str, str], trials: Trials) -> None:
    """Strike a job's command, look at what is there, run it again."""
    outputs = [project.folder / path for path in job.outputs]
    for path in outputs:
        path.unlink()
    moment, first_sign = trials.random.uniform(0.05, 1.0) * job.seconds, bool(trials.random.integers(2))
    folders = {path.parent for path in outputs}
    before = {folder: set(folder.iterdir()) for folder in folders}

    def due(seconds: float) -> bool:
        """At a random moment; of every second trial as soon as something is written, when most can go wrong."""
        return any(set(f.iterdir()) - before[f] for f in folders) if first_sign else seconds >= moment

    status = strike(["bash", "-c", f"exec env {job.command}"], project.folder, number, due)
    what = f"{job.rule}, {number.name} " + ("at the first file" if first_sign else f"after {moment:.2f} s")
    struck = digests(project.folder / OUT)
    half = [path for path in struck.keys() & expected.keys() if struck[path] != expected[path]]
    left = sorted(path for path in struck.keys() - expected.keys() if not path.endswith("resume.pt"))
    again = run(job.command, project.folder)
    ended = digests(project.folder / OUT)
    log = (project.folder / job.log).read_text(encoding="utf-8")[-1500:]
    if half:
        trials.lost(KIND, what, f"half written: {half}")
    elif status == 0 and struck != expected:
        trials.lost(KIND, what, "status 0, but files are missing")
    elif status > 0 and status != 128 + number:
        trials.lost(KIND, what, f"status {status}: {log}")
    elif left and number in CAUGHT:
        trials.lost(KIND, what, f"left behind: {left}")
    elif again.returncode or ended != expected:
        wrong = sorted(k for k in ended.keys() | expected.keys() if ended.get(k) != expected.get(k))
        trials.lost(KIND, what, f"run again: status {again.returncode}, wrong: {wrong}, log: {log}")
    else:
        trials.survived(KIND, f"{what}: status {status}")
