"""What is made of the words of Snakemake, a scheduler and a log when a job has failed."""

import logging
import os
from pathlib import Path

import pytest

from sclamp.watch.causes import cause_of
from sclamp.watch.jobs import Jobs
from sclamp.watch.summary import Command, failure_summary

SLURM = "SLURM-job '7' failed, SLURM status is: '{}'."
STEP = "slurmstepd: error: *** STEP 7.0 CANCELLED AT ... DUE TO TIME LIMIT ***"
OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0."
FULL = ["x.py: 1 problem", "  - a.h5ad: the disk is full; nothing was written."]


@pytest.mark.parametrize(
    ("said", "lines", "of_scheduler", "kind", "first", "todo"),
    [
        (SLURM.format("TIMEOUT"), ["epoch 3/200 (4%)"], [], "time", "the time limit", "runtime_scale"),
        (SLURM.format("OUT_OF_MEMORY"), [], [], "memory", "out of memory", "memory_scale"),
        (SLURM.format("CANCELLED"), [], [], "stopped", "stopped from outside", "same command"),
        (SLURM.format("NODE_FAIL"), [], [], "stopped", "stopped from outside", "same command"),
        ("", ["x"], [STEP], "time", "the time", "runtime"),
        ("", ["x"], [OOM], "memory", "out of memory", "memory"),
        ("SLURM sbatch failed. The error message was 'invalid'", [], [], "not submitted", "the sched", "partitions"),
        ("", ["torch.OutOfMemoryError: CUDA out of memory. Tried to"], [], "device memory", "the GPU's", "batch_size"),
        ("", FULL, [], "disk", "a.h5ad", "free some"),
        ("", ["old.py: 1 problem", "  - one", "x.py: 1 problem", "  - two"], [], "input", "two", "correct"),
        ("", ["ModuleNotFoundError: No module named 'torch'"], [], "installation", "a package", "requirements.txt"),
        ("", ["some words", "and no more"], [], "unknown", "some words", "whole log"),
        ("returned non-zero exit status 137.", ["x.py: 1 problem", "  - named"], [], "input", "named", "correct"),
    ],
)  # fmt: skip
def test_signs_of_causes(said, lines, of_scheduler, kind, first, todo):
    cause = cause_of(said, lines, of_scheduler)
    assert cause.kind == kind
    assert cause.why[0].startswith(first)
    assert todo in cause.todo


def event(event, text="", level=logging.INFO, **fields):
    """A record as Snakemake makes it."""
    record = logging.LogRecord("snakemake", level, "", 0, text, (), None)
    vars(record).update(event=event, **fields)
    return record


def test_of_a_failed_group_only_the_job_that_failed_is_named_with_the_words_of_the_scheduler(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = Jobs()
    jobs.handle(event("run_info", stats={"find_neighbors": 1, "layout_umap": 1, "plot_umap": 1, "all": 1, "total": 4}))
    rules = ("find_neighbors", "layout_umap", "plot_umap")
    infos = []
    for number, rule in enumerate(rules):
        common = {"jobid": number, "rule_name": rule, "log": [f"{rule}.log"], "output": [rule], "shellcmd": rule}
        infos.append(common)
        jobs.handle(event("job_info", **common, wildcards={"model": "pca"}, local=False))
    Path("find_neighbors.log").write_text("done\n", encoding="utf-8")
    Path("find_neighbors.benchmark.tsv").write_text("s\n", encoding="utf-8")
    Path("layout_umap.log").write_text("UMAP: 3 of 500 epochs\n", encoding="utf-8")
    Path("slurm.log").write_text("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n", encoding="utf-8")
    jobs.handle(event("group_error", "", logging.ERROR, groupid="run", aux_logs=["slurm.log"], job_error_info=infos))
    for info in infos:
        jobs.handle(event("job_error", "", logging.ERROR, **info, rule_msg=None, indent=True))
    text = failure_summary(jobs, Command(["snakemake", "--profile", "slurm", "all"], frozenset(["all"])), ["all"])
    assert "1. layout_umap (model=pca)\n   why: the time limit was reached\n        slurmstepd: error:" in text
    assert "   log: layout_umap.log\n   log: slurm.log\n" in text
    assert "snakemake layout_umap --profile slurm\n" in text
    assert "1 job failed; 0 jobs ended well; 2 jobs are still to be done: 1 find_neighbors, 1 plot_umap." in text
    assert "plot_umap (" not in text


def test_a_group_that_never_began_has_failed_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("slurm.log").write_text(
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED DUE TO TIME LIMIT ***\n", encoding="utf-8"
    )
    jobs, infos = Jobs(), []
    for number, rule in enumerate(("find_neighbors", "layout_umap")):
        infos.append({"jobid": number, "rule_name": rule, "log": [f"{rule}.log"], "output": [rule], "shellcmd": rule})
        jobs.handle(event("job_info", **infos[-1], wildcards={}, local=False))
    Path("layout_umap.log").write_text("of last year\n", encoding="utf-8")
    os.utime("layout_umap.log", (0, 0))
    jobs.handle(event("group_error", "", logging.ERROR, groupid="run", aux_logs=["slurm.log"], job_error_info=infos))
    for info in infos:
        jobs.handle(event("job_error", "", logging.ERROR, **info, rule_msg=None, indent=True))
    assert "1. find_neighbors\n   and layout_umap\n   why: the time limit" in failure_summary(
        jobs, Command(["snakemake"])
    )


def test_a_job_that_succeeds_when_tried_again_is_no_failure():
    jobs = Jobs()
    info = {"jobid": 1, "rule_name": "train", "log": [], "output": ["m"], "shellcmd": "x"}
    for _ in range(2):
        jobs.handle(event("job_info", **info, wildcards={}, local=False))
        jobs.handle(event("job_error", "", logging.ERROR, **info, rule_msg="", indent=False))
    assert jobs.failed == {1}
    jobs.handle(event("job_info", **info, wildcards={}, local=False))
    assert jobs.failed == set()
    jobs.handle(event("job_finished", job_id=1))
    assert (jobs.done, jobs.failed, jobs.running) == ({1}, set(), set())


def test_an_event_of_another_form_is_shown_and_stops_nothing(capfd):
    jobs = Jobs()
    jobs.handle(event("job_info", "a job", rule_name="train"))
    jobs.handle(event("something_new", "unheard"))
    assert jobs.jobs == {}
    assert "AttributeError: 'LogRecord' object has no attribute 'jobid'" in capfd.readouterr().err


def test_an_end_without_a_failed_job_says_what_snakemake_said():
    jobs = Jobs()
    jobs.handle(event("run_info", stats={"train": 2, "total": 2}))
    jobs.handle(event(None, "WorkflowError:\nthe scheduler does not answer", logging.ERROR))
    text = failure_summary(jobs, Command(["snakemake"]))
    assert (
        "The workflow stopped before its end, no job failed; 0 jobs ended well; 2 jobs are still to be done: 2 train."
        in text
    )
    assert "Snakemake said:\n  WorkflowError:\n  the scheduler does not answer" in text
