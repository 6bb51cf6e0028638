"""Trainings that SLURM ends, and the death of the workflow itself: nothing is lost, nothing is made twice."""

import os
import signal

import pandas as pd
import pytest
from on_cluster import OnCluster, few_models, gpus, long_training, prepared_from
from project import copy_project

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one worker, one cluster

SAME = ("model.pt", "cell_embedding.parquet")
TARGET = "results/datasets/one/models/long/seed_1/cell_embedding.parquet"
whole_suite = pytest.mark.skipif("SCLAMP_TEST_SLURM" not in os.environ, reason="takes minutes: make test-slurm")


def bytes_of(folder):
    return {name: (folder / "results/datasets/one/models/long/seed_1" / name).read_bytes() for name in SAME}


def log_of(project):
    return project.file("long", "logs/train.log").read_text(encoding="utf-8")


def cancel(project, process):
    project.cluster.run("scancel", project.training("long")["JobId"])


def kill(project, process):
    """What the kernel does to a process that takes too much memory."""
    project.training("long")
    (training,) = project.process_of("long")
    os.kill(training, signal.SIGKILL)


def kill_the_workflow(project, process):
    project.training("long")
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def ended(cluster, undisturbed, tmp_path_factory):
    """Projects whose training was ended in one way each, all at the same time; as far as they then got."""
    projects, processes = {}, {}
    for end in (cancel, kill, kill_the_workflow):
        projects[end] = OnCluster(prepared_from(undisturbed, tmp_path_factory.mktemp(end.__name__)), cluster)
        processes[end] = projects[end].start(TARGET)
    for end, project in projects.items():
        end(project, processes[end])
    for process in processes.values():
        process.wait(900)
    return projects


@pytest.mark.parametrize(("end", "state"), [(cancel, "CANCELLED"), (kill, "FAILED")])
def test_an_ended_training_is_submitted_again_and_goes_on_to_the_same_bytes(ended, undisturbed, trials, end, state):
    check_resumed(ended[end], undisturbed, state)
    trials.survived("killed", f"training on SLURM, {state}")


def check_resumed(project, undisturbed, state):
    """The training ended in a state, went on in a second job, and made the bytes of an undisturbed one."""
    first, second = project.jobs("train_model")
    assert (first["JobState"], second["JobState"]) == (state, "COMPLETED"), project.said()[-4000:]
    if state != "FAILED":  # it was told before it was killed; Snakemake shows the log of the first job
        assert "stopped by SIGTERM; saved at epoch" in project.said()
    assert "resume: going on at epoch" in log_of(project)
    assert bytes_of(project.folder) == bytes_of(undisturbed)
    return second


def test_the_death_of_the_workflow_loses_nothing_and_repeats_nothing(ended, undisturbed, trials):
    project = ended[kill_the_workflow]
    (job,) = project.jobs("train_model")
    project.wait_for(lambda: project.cluster.jobs()[job["JobId"]]["JobState"] == "COMPLETED")
    assert not project.file("long", "cell_embedding.parquet").exists()
    made = project.file("long", "model.pt").stat().st_ino
    assert "Directory cannot be locked" in project.run(TARGET, code=1)
    project.run("--unlock")
    project.run(TARGET)
    assert project.file("long", "model.pt").stat().st_ino == made
    assert bytes_of(project.folder) == bytes_of(undisturbed)
    rules = [job["Comment"].split("_wildcards")[0] for job in project.jobs()]
    assert rules == ["rule_train_model", "rule_export_embeddings"]  # SLURM has ended what Snakemake had begun
    trials.survived("killed", "Snakemake's main process, SIGKILL while a training ran on SLURM")


@whole_suite
def test_a_training_that_runs_out_of_time_goes_on_with_twice_the_time(cluster, tmp_path, trials):
    (tmp_path / "whole").mkdir()
    whole = copy_project(tmp_path / "whole")  # SLURM looks at time limits every 30 seconds only
    whole.snakemake(TARGET, config=few_models(long=long_training(6000)))
    project = OnCluster(prepared_from(whole.folder, tmp_path), cluster)
    process = project.start(TARGET)
    job = project.training("long")
    cluster.run("scontrol", "update", f"JobId={job['JobId']}", "EndTime=now")
    assert process.wait(900) == 0, project.said()[-4000:]
    second = check_resumed(project, whole.folder, "TIMEOUT")
    assert second["TimeLimit"] == "02:01:00"
    trials.survived("killed", "training on SLURM, TIMEOUT")


@whole_suite
def test_two_processes_make_one_training_and_one_of_them_writes(cluster, prepared, trials):
    project = OnCluster(prepared, cluster)
    config = few_models(long=long_training(500))
    config["resources"]["gpus"] = 2
    process = project.start(str(project.file("long", "model.pt").relative_to(project.folder)), config=config)
    job = project.training("long")
    assert (gpus(job), job["NumNodes"]) == (2, "1")
    assert len(project.process_of("long")) == 2
    cluster.run("scancel", job["JobId"])
    assert process.wait(900) == 0, project.said()[-4000:]
    assert "stopped by SIGTERM; saved at epoch" in project.said()
    log = log_of(project)
    assert [log.count(f"GPU {n} is there") for n in (0, 1)] == [1, 1]
    assert [log.count(line) for line in ("model: beta_vae", "resume: going on at", "trained 500 epochs")] == [1, 1, 1]
    assert list(pd.read_parquet(project.file("long", "history.parquet"))["epoch"]) == list(range(500))
    trials.survived("killed", "training by two processes on SLURM, CANCELLED")
