"""Leases of GPUs among real processes; what is said where there is none. The GPUs are made up: only locks are real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sclamp.core.errors import UserError
from sclamp.train.devices import Lease, lease_gpu, lock_folder, torch_device

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
HOLD = """
import sys
from sclamp.train.devices import lease_gpu
lease = lease_gpu("auto", lambda: {gpus!r}, seconds_between_tries=0.02)
import os
print(lease.gpu, os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if k not in {"CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "SCLAMP_JOBS_PER_GPU"}
    }
    return {**kept, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(SCRIPTS)}


class Job:
    """A process that leases a GPU and holds it until told to end."""

    def __init__(self, environment: dict[str, str], gpus: list[str], **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(gpus=gpus)], env={**environment, **more}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def gpu(self) -> str:
        assert self.process.stdout is not None
        leased, visible = self.process.stdout.readline().split()
        assert leased == visible
        return leased

    def end(self, kill: bool = False) -> str:
        if kill:
            self.process.kill()
        _, errors = self.process.communicate("\n", timeout=60)
        return errors


def test_jobs_spread_over_gpus_and_wait_for_a_free_one(environment: dict[str, str]):
    first, second = Job(environment, ["0", "1"]), Job(environment, ["0", "1"])
    assert {first.gpu(), second.gpu()} == {"0", "1"}
    third = Job(environment, ["0", "1"])
    assert third.process.stderr is not None
    assert "waiting for one of the GPUs 0, 1" in third.process.stderr.readline()
    first.end(kill=True)  # the lease ends with the process, however it ends
    assert third.gpu() in {"0", "1"}
    third.end()
    second.end()


def test_a_second_slot_opens_when_all_gpus_are_taken_once(environment: dict[str, str]):
    jobs = [Job(environment, ["0", "1"], SCLAMP_JOBS_PER_GPU="2") for _ in range(2)]
    assert {job.gpu() for job in jobs} == {"0", "1"}
    more = [Job(environment, ["0", "1"], SCLAMP_JOBS_PER_GPU="2") for _ in range(2)]
    assert {job.gpu() for job in more} == {"0", "1"}
    for job in jobs + more:
        job.end()


def test_of_several_visible_gpus_one_is_leased(environment: dict[str, str]):
    jobs = [Job(environment, ["0", "1", "2", "3"], CUDA_VISIBLE_DEVICES="2,3") for _ in range(2)]
    assert {job.gpu() for job in jobs} == {"2", "3"}
    for job in jobs:
        job.end()


def test_a_gpu_that_a_scheduler_assigned_is_taken_as_it_is(environment: dict[str, str]):
    environment["CUDA_VISIBLE_DEVICES"] = "GPU-abc"
    held = [lease_gpu("cuda", lambda: pytest.fail("not asked"), environment) for _ in range(3)]
    assert [lease.gpu for lease in held] == ["GPU-abc"] * 3
    assert not list(Path(environment["XDG_RUNTIME_DIR"]).iterdir())


def test_under_torchrun_each_process_takes_its_own(environment: dict[str, str]):
    environment |= {"CUDA_VISIBLE_DEVICES": "4,5", "LOCAL_RANK": "1"}
    assert lease_gpu("auto", list, environment).gpu == "5"


@pytest.mark.parametrize("given", [None, "", "-1"])
def test_without_a_gpu(environment: dict[str, str], capsys: pytest.CaptureFixture[str], given: str | None):
    if given is not None:
        environment["CUDA_VISIBLE_DEVICES"] = given
    lease = lease_gpu("auto", list, environment)
    assert torch_device("auto", lease) == torch.device("cpu")
    assert "running on the CPU" in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"device: 'cuda' was asked for, but (this machine has none|CUDA_VISIBLE_DEVICES)"
    ):
        lease_gpu("cuda", list, environment)


def test_cpu_looks_for_no_gpu(environment: dict[str, str]):
    assert lease_gpu("cpu", lambda: pytest.fail("not asked"), environment).gpu is None


@pytest.mark.parametrize("slots", ["0", "two", ""])
def test_a_wrong_number_of_slots(environment: dict[str, str], slots: str):
    environment["SCLAMP_JOBS_PER_GPU"] = slots
    with pytest.raises(UserError, match=f"SCLAMP_JOBS_PER_GPU: .* found '{slots}'"):
        lease_gpu("auto", lambda: ["0"], environment)


def test_a_torch_without_cuda(monkeypatch: Any, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"'cuda' was asked for; GPU 0 is there, but torch .* cannot use it"):
        torch_device("cuda", Lease("0"))
    assert torch_device("auto", Lease("0")) == torch.device("cpu")
    assert "cannot use it; running on the CPU" in capsys.readouterr().err


def test_only_its_owner_sees_the_locks(environment: dict[str, str]):
    assert lock_folder(environment).stat().st_mode & 0o077 == 0
