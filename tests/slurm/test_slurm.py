"""The workflow on a real SLURM: two nodes with a GPU each, as far as SLURM can tell. Run by `make test-slurm`."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, missing_programs
from project import copy_project, small_config

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif("SCLAMP_TEST_SLURM" not in os.environ, reason="takes minutes: make test-slurm"),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]

IMPATIENT = (
    "--slurm-status-command=squeue",  # a toy cluster keeps no accounts
    "--slurm-init-seconds-before-status-checks=5",
    "--latency-wait=5",
)
SECONDS = 1500


class OnCluster:
    """A small project and the cluster that it runs on."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = copy_project(folder).folder, cluster
        self.before = set(cluster.jobs())

    def start(self, *arguments, config=None):
        """Start Snakemake with the project's SLURM profile; its output goes to run.log."""
        if config is not None:
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--profile", "profiles/slurm"]
        path = f"{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                [*command, *IMPATIENT, *arguments],
                cwd=self.folder,
                env=self.cluster.environment | {"PATH": path, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments, config=None, check=True):
        """Run Snakemake to its end; returns what it said so far."""
        process = self.start(*arguments, config=config)
        try:
            code = process.wait(SECONDS)
        finally:
            process.kill()
        assert not check or code == 0, self.said()[-6000:]
        return self.said()

    def said(self):
        return (self.folder / "run.log").read_text(encoding="utf-8", errors="replace")

    def jobs(self, rule=""):
        """Jobs of this project so far whose name holds `rule`, oldest first."""
        jobs = [job for number, job in self.cluster.jobs().items() if number not in self.before]
        return sorted((j for j in jobs if f"rule_{rule}" in j.get("Comment", "")), key=lambda j: int(j["JobId"]))

    def wait_for(self, what, seconds=300):
        """Wait until `what()` is true and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds} s in vain; last words:\n{self.said()[-3000:]}")

    def file(self, name, model="beta_vae"):
        return self.folder / f"results/datasets/one/models/{model}/seed_1/{name}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cluster):
    """A project that ran to its end on the cluster."""
    project = OnCluster(tmp_path_factory.mktemp("slurm"), cluster)
    project.run(config=few_models())
    return project


def few_models(**more):
    config = small_config()
    config["evaluate"] |= {"left_out_genes": 0.0, "controls": ["pca", "random"]}
    config["models"]["direct"].pop("prior_controls")
    return config | more


def long_training(epochs=1500):
    """One model whose training takes a while, and nothing else."""
    config = few_models()
    config["models"] = {"beta_vae": {"mode": "beta_vae", "max_epochs": epochs, "patience": epochs}}
    config["evaluate"]["controls"] = []
    return config


def times(job):
    return tuple(datetime.fromisoformat(job[key]) for key in ("StartTime", "EndTime"))


def test_trainings_get_one_gpu_each_and_others_none(finished):
    gpu = [job for job in finished.jobs() if "gres:gpu" in job.get("TresPerJob", "") + job.get("TresPerNode", "")]
    assert {re.search(r"rule_[a-z_]+?_wildcards", job["Comment"])[0] for job in gpu} == {"rule_train_model_wildcards"}
    assert {job["Partition"] for job in gpu} == {"gpu"}
    assert {job["TresPerJob"] for job in gpu} == {"gres:gpu:1"}
    assert {job["Partition"] for job in finished.jobs() if job not in gpu} == {"cpu"}
    for model in ("beta_vae", "direct"):  # CUDA_VISIBLE_DEVICES reached the training
        assert "device: GPU 0 is there" in finished.file("logs/train.log", model).read_text(encoding="utf-8")


def test_never_more_gpu_jobs_at_once_than_gpus(finished):
    spans = [times(job) for job in finished.jobs() if job["Partition"] == "gpu"]
    assert len(spans) >= 2
    busiest = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert busiest <= finished.cluster.nodes * finished.cluster.gpus


def test_many_small_jobs_reach_the_scheduler_as_few(finished):
    steps = int(re.findall(r"(\d+) of \1 steps \(100%\) done", finished.said())[-1])
    assert steps > 40
    assert len(finished.jobs()) <= steps / 2


def test_memory_and_time_come_from_the_size_of_the_data(finished):
    training = finished.jobs("train_model")[0]
    megabytes = int(re.search(r"mem=(\d+)M", training["TRES"])[1])
    assert 2500 <= megabytes < 2600  # base + 20 per MB of input
    assert training["TimeLimit"] == "01:01:00"


def test_a_failing_job_is_shown_and_stops_nothing_else(cluster, tmp_path):
    project = OnCluster(tmp_path, cluster)
    config = few_models()
    config["models"]["greedy"] = {"mode": "pca", "latent_dim": 79}  # more components than training cells
    config["datasets"]["one"]["split"] = {"val_share": 0.3, "test_share": 0.5}  # 48 training cells
    said = project.run("models", config=config, check=False)
    assert project.file("cell_embedding.parquet").is_file()
    assert not project.file("model.pt", "greedy").exists()
    assert "latent_dim" in said.split("fit_model", 1)[1]  # the log's own words
    attempts = [job for job in project.jobs("fit_model") if "greedy" in job["Comment"]]
    assert len(attempts) == 3
    memory = [int(re.search(r"mem=(\d+)M", job["TRES"])[1]) for job in attempts]
    assert memory[0] < memory[1] < memory[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """model.pt of the long training, made without a cluster in one go."""
    project = copy_project(tmp_path_factory.mktemp("undisturbed"))
    path = "results/datasets/one/models/beta_vae/seed_1/model.pt"
    project.snakemake(path, config=long_training())
    return (project.folder / path).read_bytes()


def started(project):
    """The running training of a project, once it has trained for a while."""
    job = project.wait_for(lambda: [j for j in project.jobs("train_model") if j["JobState"] == "RUNNING"])[-1]
    project.wait_for(lambda: project.file("logs/train.log").is_file() and "epoch" in log_of(project))
    return job


def log_of(project):
    return project.file("logs/train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("how", ["cancelled", "killed", "out of time"])
def test_an_ended_training_is_submitted_again_and_resumes_to_the_same_bytes(cluster, tmp_path, undisturbed, how):
    project = OnCluster(tmp_path, cluster)
    limit = ["--set-resources", "train_model:runtime=1", "train_model:slurm_partition=gpu"]
    process = project.start(
        str(project.file("model.pt").relative_to(project.folder)),
        *(limit if how == "out of time" else []),
        config=long_training(),
    )
    job = started(project)
    if how == "cancelled":
        cluster.run("scancel", job["JobId"])
    elif how == "killed":  # what the kernel does to a job that takes too much memory
        project.wait_for(lambda: project.file("resume.pt").is_file())
        kill_training(project)
    try:
        assert process.wait(SECONDS) == 0, project.said()[-4000:]
    finally:
        process.kill()
    assert len(project.jobs("train_model")) >= 2
    assert "resume: going on at epoch" in log_of(project)
    assert project.file("model.pt").read_bytes() == undisturbed


def kill_training(project):
    """SIGKILL for the training of this project, and for no other."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            here, command = (path / "cwd").resolve(), (path / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if here == project.folder.resolve() and command[1:2] == [b"scripts/train_model.py"]:
            os.kill(int(path.name), signal.SIGKILL)
