"""Which device a training runs on, and the lease of a GPU on a machine that several trainings share.

A lease is a lock on a file, one file per GPU and slot: it ends with the process, however that ends. It must be taken
before CUDA starts in this process, because it works through CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sclamp.core.errors import UserError
from sclamp.train.leases import FirstProcess, Lock, lock_folder, wait_for_gpus

if TYPE_CHECKING:
    import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
HIDDEN = ("", "-1", "NoDevFiles")
SLOTS = "SCLAMP_JOBS_PER_GPU"


@dataclass
class Lease:
    """The right to use a GPU. gpu: its name for CUDA_VISIBLE_DEVICES, None on the CPU. Keep it until the end."""

    gpu: str | None
    _locks: list[Lock] = field(default_factory=list, repr=False)

    def release(self) -> None:
        """Give the GPU back before the process ends."""
        while self._locks:
            self._locks.pop().close()


def list_gpus() -> list[str]:
    """Numbers of the machine's GPUs, found without starting CUDA."""
    if shutil.which("nvidia-smi"):
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
        if answer.returncode == 0:
            return [str(i) for i in range(sum(line.startswith("GPU ") for line in answer.stdout.splitlines()))]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(folder.iterdir())] if folder.is_dir() else []


def lease_gpu(
    wanted: str,
    listed: Callable[[], list[str]] = list_gpus,
    environment: MutableMapping[str, str] = os.environ,
    seconds_between_tries: float = 0.5,
) -> Lease:
    """Choose a GPU for this process and point CUDA_VISIBLE_DEVICES at it; wait while all are taken.

    wanted: auto, cpu or cuda (`UserError` where there is no GPU). GPUs that a scheduler has assigned, no more than
    this job has processes, are used as they are; of more, each process gets one by lease. Under torchrun the first
    process of a machine leases for all of them, so that two jobs never wait for each other's GPUs.
    """
    if wanted == "cpu":
        return Lease(None)
    given = environment.get(VISIBLE)
    gpus = listed() if given is None else [gpu.strip() for gpu in given.split(",") if gpu.strip() not in HIDDEN]
    if not gpus:
        why = "this machine has none" if given is None else f"{VISIBLE}='{given}' shows none"
        if wanted == "cuda":
            raise UserError(f"device: 'cuda' was asked for, but {why}; set `device: auto` to run on the CPU.")
        print(f"device: no GPU ({why}); running on the CPU", file=sys.stderr)
        return Lease(None)
    if "LOCAL_RANK" in environment and "LOCAL_WORLD_SIZE" not in environment:  # not torchrun: the caller has chosen
        return Lease(gpus[int(environment["LOCAL_RANK"]) % len(gpus)])
    rank, count = (int(environment.get(name, other)) for name, other in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    if given is not None and len(gpus) <= count:
        return Lease(gpus[rank % len(gpus)])
    folder = lock_folder(environment)
    locks: list[Lock] = []
    first = FirstProcess(folder, environment)
    if rank == 0:
        names, locks = wait_for_gpus(min(count, len(gpus)), gpus, _slots(environment), folder, seconds_between_tries)
        print(f"device: leased GPU {', '.join(names)} of {', '.join(gpus)}", file=sys.stderr)
        locks += [first.tell(names)] if count > 1 else []
    else:
        names = first.hear(seconds_between_tries)
    environment[VISIBLE] = ",".join(names)
    return Lease(names[rank % len(names)], locks)


def _slots(environment: MutableMapping[str, str]) -> int:
    text = environment.get(SLOTS, "1")
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"{SLOTS}: a number of jobs per GPU (1 or more) is expected, found '{text}'.")
    return int(text)


def torch_device(wanted: str, lease: Lease, cpu_fallback: bool = False) -> torch.device:
    """The device behind a lease, after a check that this torch can use it.

    cpu_fallback: whether the CPU may stand in for a GPU that is there; without it that is a `UserError`, because a
    training that was given a GPU could else be slow for days unnoticed.
    """
    import torch

    if lease.gpu is None:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    lease.release()
    what = f"GPU {lease.gpu} is there, but torch {torch.__version__} cannot use it"
    if wanted == "cuda":
        raise UserError(f"device: 'cuda' was asked for; {what}: install a CUDA build of torch, or set `device: auto`.")
    if not cpu_fallback:
        raise UserError(
            f"device: {what}. Expected a CUDA build of torch that fits the driver (see nvidia-smi); to compute on the "
            "CPU instead, set `cpu_fallback: true` in model_defaults, or `device: cpu` (--device cpu)."
        )
    print(f"device: {what}; running on the CPU", file=sys.stderr)
    return torch.device("cpu")
