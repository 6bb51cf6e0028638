"""Leases of GPUs among real processes; what is said where there is none. The GPUs are made up: only locks are real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sclamp.core.errors import UserError
from sclamp.train.devices import Lease, lease_gpu, torch_device
from sclamp.train.leases import lock_folder

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Says the process's number, its GPU and CUDA_VISIBLE_DEVICES; keeps the lease until it hears a line.
HOLD = """
import os, sys, time
from sclamp.train.devices import lease_gpu
lease = lease_gpu("auto", lambda: {gpus!r}, seconds_between_tries=0.02)
{then}
os.write(1, f"{{os.getpid()}} {{lease.gpu}} {{os.environ['CUDA_VISIBLE_DEVICES']}}\\n".encode())  # processes share it
sys.stdin.readline()
time.sleep({seconds})
"""
FORK = """
child = os.fork()
if not child:  # it outlives its parent, as workers that load data do for a while
    os.close(1), os.close(2)
    time.sleep(600)
    os._exit(0)
print(child, flush=True)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if k not in {"CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "SCLAMP_JOBS_PER_GPU"}
    }
    return {**kept, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(SCRIPTS)}


class Job:
    """A process that leases a GPU and holds it until told to end; `then` is run by it after that."""

    def __init__(self, environment: dict[str, str], gpus: list[str], then: str = "", **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(gpus=gpus, then=then, seconds=0)], env={**environment, **more},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def words(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def gpu(self) -> str:
        _, leased, visible = self.words()
        assert leased in visible.split(",")
        return leased

    def said(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, kill: bool = False) -> str:
        if kill:
            self.process.kill()
        _, errors = self.process.communicate("\n", timeout=60)
        return errors


def test_jobs_spread_over_gpus_and_wait_for_a_free_one(environment: dict[str, str]):
    first, second = Job(environment, ["0", "1"]), Job(environment, ["0", "1"])
    assert {first.gpu(), second.gpu()} == {"0", "1"}
    third = Job(environment, ["0", "1"])
    assert third.said() == "device: waiting for one of the GPUs 0, 1 (1 job each)\n"
    first.end(kill=True)  # the lease ends with the process, however it ends
    assert third.gpu() in {"0", "1"}
    third.end()
    second.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_a_lease_ends_with_its_process_whatever_ends_it(
    environment: dict[str, str], number: signal.Signals, trials: Any
):
    holder = Job(environment, ["0"])
    holder.gpu()
    holder.process.send_signal(number)
    holder.process.communicate(timeout=60)
    after = Job(environment, ["0"])
    assert after.gpu() == "0"
    assert "waiting" not in after.end()
    trials.survived("killed", f"a lease of a GPU, {number.name}")


def test_a_forked_child_that_lives_on_keeps_no_lease(environment: dict[str, str], trials: Any):
    holder = Job(environment, ["0"], then=FORK)
    child = int(holder.words()[0])
    holder.gpu()
    holder.end(kill=True)
    try:
        os.kill(child, 0)  # it is there
        after = Job(environment, ["0"])
        assert after.gpu() == "0"
        assert "waiting" not in after.end()
    finally:
        os.kill(child, signal.SIGKILL)
    trials.survived("killed", "a lease of a GPU, SIGKILL of a parent with a forked child")


def test_a_lease_stays_with_a_training_whose_parent_was_killed(environment: dict[str, str], trials: Any):
    """It computes on that GPU: nobody else may take it before its own end."""
    program = HOLD.format(gpus=["0"], then="", seconds=600)
    shell = subprocess.Popen(
        ["bash", "-c", '"$0" -c "$1"; true', sys.executable, program], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert shell.stdout is not None
    orphan = int(shell.stdout.readline().split()[0])
    shell.kill()
    shell.wait()
    waiting = Job(environment, ["0"])
    try:
        assert "waiting for one of the GPUs 0" in waiting.said()
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert waiting.gpu() == "0"
    waiting.end()
    shell.communicate()
    trials.survived("killed", "a lease of a GPU, SIGKILL of the parent, then of the training")


class Group:
    """torchrun with processes that hold their leases for ten minutes."""

    def __init__(self, environment: dict[str, str], folder: Path, gpus: list[str], count: int) -> None:
        script = folder / "hold.py"
        script.write_text(HOLD.format(gpus=gpus, then="", seconds=600))
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        self.process = subprocess.Popen(
            [*launch, str(script)], env={**environment, "OMP_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.count = count

    def leased(self) -> dict[int, tuple[str, str]]:
        """Number of each process -> its GPU, and all those of the group."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().split() for _ in range(self.count)]
        return {int(pid): (gpu, visible) for pid, gpu, visible in lines}

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)


@pytest.mark.slow
def test_torchruns_on_one_machine_take_different_gpus_and_give_them_back(
    environment: dict[str, str], tmp_path: Path, trials: Any
):
    gpus = ["0", "1", "2"]
    first = Group(environment, tmp_path, gpus, 2)
    held = first.leased()
    visible = next(iter(held.values()))[1]
    assert sorted(gpu for gpu, _ in held.values()) == sorted(visible.split(","))
    second = Group(environment, tmp_path, gpus, 2)  # one GPU is left, and it needs two
    assert second.process.stderr is not None
    assert any("waiting for 2 of the GPUs 0, 1, 2 (1 job each)" in line for line in second.process.stderr)
    single = Job(environment, gpus)  # does not overtake it, though one would do
    assert "waiting for one of the GPUs" in single.said()
    for pid in held:
        if held[pid][0] == visible.split(",")[0]:
            os.kill(pid, signal.SIGKILL)  # torchrun ends the other process
    again = second.leased()
    assert len({gpu for gpu, _ in again.values()}) == 2
    assert single.gpu() not in {gpu for gpu, _ in again.values()}
    single.end()
    first.process.communicate(timeout=60)
    second.end()
    trials.survived("killed", "leases of GPUs, SIGKILL of one of two processes under torchrun")


def test_jobs_of_several_gpus_do_not_wait_for_each_other(environment: dict[str, str]):
    """Two at a time want two of three GPUs: one gets them, the other waits and takes them afterwards."""
    groups = [
        [
            Job(environment, ["0", "1", "2"], MASTER_PORT=str(port), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2")
            for rank in range(2)
        ]
        for port in (1, 2)
    ]
    taken = []
    for _ in groups:
        first = next(group for group in [*groups, *groups] if group and _has_spoken(group[0]))
        lines = [job.words() for job in first]
        assert [gpu for _, gpu, _ in lines] == lines[0][2].split(",")
        taken.append(lines[0][2])
        for job in first:
            job.end()
        groups[groups.index(first)] = []
    assert len(taken) == 2


def _has_spoken(job: Job, seconds: float = 1.0) -> bool:
    import select

    return bool(select.select([job.process.stdout], [], [], seconds)[0])


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
    assert lease_gpu("auto", list, {**environment, "LOCAL_WORLD_SIZE": "2"}).gpu == "5"
    assert not list(Path(environment["XDG_RUNTIME_DIR"]).iterdir())


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")
def test_a_gpu_that_torch_cannot_use(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UserError, match=r"'cuda' was asked for; GPU 0 is there, but torch .* cannot use it"):
        torch_device("cuda", Lease("0"), cpu_fallback=True)
    with pytest.raises(UserError, match=r"GPU 0 is there, but torch .* cannot use it\. .*`cpu_fallback: true`"):
        torch_device("auto", Lease("0"))
    assert torch_device("auto", Lease("0"), cpu_fallback=True) == torch.device("cpu")
    assert "cannot use it; running on the CPU" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")
@pytest.mark.parametrize("allowed", [False, True])
def test_a_training_that_was_given_a_gpu_computes_on_the_cpu_only_when_allowed(
    run: Any, tiny_counts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as a scheduler does
    settings = {"mode": "ppca", "latent_dim": 2, "max_epochs": 1, **({"cpu_fallback": True} if allowed else {})}
    status, said = run(
        "train_model.py", counts=tiny_counts(), settings=json.dumps(settings), model=tmp_path / "model.pt",
        history=tmp_path / "history.parquet",
    )  # fmt: skip
    assert f"device: GPU 0 is there, but torch {torch.__version__} cannot use it" in said
    assert (status, (tmp_path / "model.pt").is_file()) == ((0, True) if allowed else (1, False))
    assert ("model: ppca on cpu" in said) == allowed
    assert "Traceback" not in said


def test_only_its_owner_sees_the_locks(environment: dict[str, str]):
    assert lock_folder(environment).stat().st_mode & 0o077 == 0
