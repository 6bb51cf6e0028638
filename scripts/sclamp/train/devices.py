"""Which device a training runs on, and the lease of a GPU on a machine that several trainings share.

A lease is a lock on a file, one file per GPU and slot: it ends with the process, however that ends. It must be taken
before CUDA starts in this process, because it works through CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sclamp.core.errors import UserError

if TYPE_CHECKING:
    import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
HIDDEN = ("", "-1", "NoDevFiles")
SLOTS = "SCLAMP_JOBS_PER_GPU"


@dataclass
class Lease:
    """The right to use a GPU. gpu: its name for CUDA_VISIBLE_DEVICES, None on the CPU. Keep it until the end."""

    gpu: str | None
    _lock: IO[str] | None = field(default=None, repr=False)

    def release(self) -> None:
        """Give the GPU back before the process ends."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


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

    wanted: auto, cpu or cuda (`UserError` where there is no GPU). A single GPU that a scheduler has assigned is used as
    it is; of several visible ones, one is leased. Under torchrun the caller has chosen the GPUs: nothing is leased.
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
    if "LOCAL_RANK" in environment or (given is not None and len(gpus) == 1):
        return Lease(gpus[int(environment.get("LOCAL_RANK", 0)) % len(gpus)])
    lease = _wait_for_one(gpus, _slots(environment), lock_folder(environment), seconds_between_tries)
    environment[VISIBLE] = str(lease.gpu)
    print(f"device: leased GPU {lease.gpu} of {', '.join(gpus)}", file=sys.stderr)
    return lease


def lock_folder(environment: MutableMapping[str, str] = os.environ) -> Path:
    """The folder of this user's lock files."""
    root = environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(root) / f"sclamp-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _slots(environment: MutableMapping[str, str]) -> int:
    text = environment.get(SLOTS, "1")
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"{SLOTS}: a number of jobs per GPU (1 or more) is expected, found '{text}'.")
    return int(text)


def _wait_for_one(gpus: list[str], slots: int, folder: Path, seconds: float) -> Lease:
    said = False
    while True:
        for slot in range(slots):  # all GPUs before a second job on one of them
            for gpu in gpus:
                if (lock := _locked(folder / f"{gpu.replace('/', '_')}.{slot}.lock")) is not None:
                    return Lease(gpu, lock)
        if not said:
            print(f"device: waiting for one of the GPUs {', '.join(gpus)} ({slots} jobs each)", file=sys.stderr)
            said = True
        time.sleep(seconds)


def _locked(path: Path) -> IO[str] | None:
    """The open, locked file, or None while another process holds it."""
    handle = open(path, "a", encoding="ascii")  # noqa: SIM115 - open for as long as the lease lasts
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def torch_device(wanted: str, lease: Lease) -> torch.device:
    """The device behind a lease, after a check that this torch can use it."""
    import torch

    if lease.gpu is None:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    what = f"GPU {lease.gpu} is there, but torch {torch.__version__} cannot use it"
    if wanted == "cuda":
        raise UserError(f"device: 'cuda' was asked for; {what}: install a CUDA build of torch, or set `device: auto`.")
    print(f"device: {what}; running on the CPU", file=sys.stderr)
    lease.release()
    return torch.device("cpu")
