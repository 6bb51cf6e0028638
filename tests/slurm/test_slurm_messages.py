"""What docs/cluster.md quotes of SLURM is what SLURM says."""

import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one worker, one cluster

PAGE = Path(__file__).resolve().parents[2] / "docs/cluster.md"


def submit(cluster, *options):
    """What sbatch says to a job with these options, and the job's number where there is one."""
    command = ["sbatch", "--parsable", "--wrap", "true", *options]
    done = subprocess.run(command, env=cluster.environment, cwd=cluster.folder, capture_output=True, text=True)
    return done.stderr, done.stdout.strip()


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("Invalid partition name specified", ["-p", "nowhere"]),
        ("Requested node configuration is not available", ["-p", "gpu", "--gpus=a100:1"]),
        ("Requested node configuration is not available", ["-p", "gpu", "--gpus=9"]),
        ("Memory specification can not be satisfied", ["-p", "cpu", "--mem=999999"]),
        ("Invalid feature specification", ["-p", "cpu", "-C", "gpu80gb"]),
        ("Requested reservation is invalid", ["-p", "cpu", "--reservation=mine"]),
    ],
)
def test_requests_that_are_refused(cluster, message, options):
    said, number = submit(cluster, *options)
    assert not number
    assert message in said
    assert message in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("reason", "options"),
    [("PartitionTimeLimit", ["-p", "cpu", "-t", "2-00:00:00"]), ("PartitionConfig", ["-p", "cpu", "-c", "64"])],
)
def test_requests_that_wait_for_ever(cluster, reason, options):
    _, number = submit(cluster, *options)
    try:
        for _ in range(20):
            submit(cluster, "-p", "cpu")  # so that the scheduler looks at the queue again
            said = cluster.run("squeue", "--noheader", "-j", number, "-o", "%r").strip()
            if said == reason:
                break
            time.sleep(1)
    finally:
        cluster.run("scancel", number)
    assert said == reason
    assert f"`{reason}`" in PAGE.read_text(encoding="utf-8")


def test_two_gpus_may_come_from_two_nodes_where_one_node_is_not_asked_for(cluster):
    every = f"--gpus={sum(cluster.gpus)}"
    said, number = submit(cluster, "-p", "gpu", every, "--nodes=1")
    assert not number
    assert "Requested node configuration is not available" in said
    _, number = submit(cluster, "-p", "gpu", every)
    assert number
    cluster.run("scancel", number)


def test_there_are_no_accounts_to_ask_for(cluster):
    done = subprocess.run(["sacct"], env=cluster.environment, capture_output=True, text=True)
    assert "Slurm accounting storage is disabled" in done.stderr
    assert "Slurm accounting storage is disabled" in PAGE.read_text(encoding="utf-8")
