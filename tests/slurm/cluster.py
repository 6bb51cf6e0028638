"""A toy SLURM cluster on this machine's loopback interface: nodes with GPUs, as far as SLURM can tell.

For tests only: nobody is authenticated, memory is not enforced, and the GPUs are links to /dev/null. Needs Debian's
packages slurmctld, slurmd and slurm-client; starts in a second or two, as any user.

    with Cluster(folder) as cluster:
        subprocess.run(["sbatch", ...], env=cluster.environment)

By hand: python tests/slurm/cluster.py FOLDER (Ctrl-C ends it; FOLDER/env.sh is to be sourced by other shells).
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "sinfo", "squeue", "scancel")
SECONDS_TO_START, HOURS = 60, 24  # of a partition
CONFIGURATION = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0
MinJobAge=600
KillWait={kill_wait}
OverTimeLimit=0
InactiveLimit=0
PropagateResourceLimits=NONE
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/state/%n
"""
NODE = (
    "NodeName=node{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=16000 "
    "Gres=gpu:toy:{gpus} State=UNKNOWN\n"
)
PARTITION = "PartitionName={name} Nodes=ALL MaxTime={hours}:00:00 DefMemPerCPU=100 State=UP\n"


def missing_programs() -> list[str]:
    """Programs of SLURM that are not installed."""
    return [name for name in PROGRAMS if program(name) is None]


def program(name: str) -> str | None:
    """Path of a program of SLURM; its daemons lie where a user's PATH does not lead."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Cluster:
    """A cluster that lives as long as the `with` block. environment: for the commands of SLURM, and for Snakemake."""

    def __init__(self, folder: Path, gpus: Sequence[int] = (2, 1), cpus: int = 8, kill_wait: int = 20) -> None:
        """gpus: how many each node has. cpus: of each node. kill_wait: seconds from SIGTERM to SIGKILL of a job."""
        self.folder = folder.resolve()
        self.gpus, self.cpus, self.kill_wait = tuple(gpus), cpus, kill_wait
        configuration = str(self.folder / "etc/slurm.conf")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        self.environment = os.environ | {"SLURM_CONF": configuration, "PATH": path}

    def __enter__(self) -> Self:
        if absent := missing_programs():
            raise RuntimeError(f"SLURM is not installed: {', '.join(absent)} not found")
        self._configure()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("scancel", f"--user={getpass.getuser()}", timeout=10)
            end = time.monotonic() + 10  # without its node's daemon a job would stay
            while time.monotonic() < end and self.run("squeue", "--noheader", timeout=10).strip():
                time.sleep(0.2)
        pids = [
            int(path.read_text()) for path in sorted((self.folder / "run").glob("*.pid")) if path.read_text().strip()
        ]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        _wait_for_end(pids)

    def run(self, *command: str, timeout: float = 60) -> str:
        """Output of a command of SLURM."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        return done.stdout

    def jobs(self) -> dict[str, dict[str, str]]:
        """Every job that SLURM remembers, by number: what `scontrol show job` says, key by key."""
        found = {}
        for block in self.run("scontrol", "--oneliner", "show", "jobs").splitlines():
            fields = dict(part.split("=", 1) for part in block.split() if "=" in part)
            if "JobId" in fields:
                found[fields["JobId"]] = fields
        return found

    def _configure(self) -> None:
        for name in ("etc", "state", "log", "dev", "run", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        port, host = _free_ports(len(self.gpus) + 1), socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(
            host=host, port=port, user=getpass.getuser(), folder=self.folder, kill_wait=self.kill_wait
        )
        generic = ""
        for n, gpus in enumerate(self.gpus, 1):
            (self.folder / f"state/node{n}").mkdir(exist_ok=True)
            text += NODE.format(n=n, host=host, port=port + n, cpus=self.cpus, gpus=gpus)
            for i in range(gpus):
                device = self.folder / f"dev/nvidia{i}"
                device.unlink(missing_ok=True)
                device.symlink_to("/dev/null")  # only a character device makes SLURM set CUDA_VISIBLE_DEVICES
                generic += f"NodeName=node{n} Name=gpu Type=toy File={device}\n"
        text += "".join(PARTITION.format(name=name, hours=HOURS) for name in ("cpu", "gpu"))
        (self.folder / "etc/slurm.conf").write_text(text, encoding="utf-8")
        (self.folder / "etc/gres.conf").write_text(generic, encoding="utf-8")
        (self.folder / "etc/cgroup.conf").write_text("CgroupAutomount=no\n", encoding="utf-8")
        # A job step forgets SLURM_CONF before it calls srun, which then finds it here again.
        exports = f"SLURM_CONF={shlex.quote(self.environment['SLURM_CONF'])}"
        wrapper = self.folder / "bin/srun"
        wrapper.write_text(f'#!/bin/sh\n{exports} exec {program("srun")} "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        lines = f"export {exports}\nexport PATH={shlex.quote(str(self.folder / 'bin'))}:$PATH\n"
        (self.folder / "env.sh").write_text(lines, encoding="utf-8")

    def _start(self) -> None:
        self._daemon("slurmctld", "-c")
        for n in range(1, len(self.gpus) + 1):
            self._daemon("slurmd", "-N", f"node{n}")
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end:
            idle = self.run("sinfo", "--noheader", "-N", "-p", "cpu", "-t", "idle", "-o", "%N").split()
            if len(idle) == len(self.gpus):
                return
            time.sleep(0.3)
        logs = "".join(path.read_text(errors="replace")[-1500:] for path in sorted((self.folder / "log").glob("*.log")))
        raise RuntimeError(f"the nodes did not come up within {SECONDS_TO_START} s:\n{logs}")

    def _daemon(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None, "looked for before"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([path, *arguments], env=self.environment, check=True, timeout=60, **quiet)


def _free_ports(n: int) -> int:
    """First of n neighbouring ports of the loopback interface that are free."""
    for first in range(20_000 + os.getpid() % 20_000, 60_000, n):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {n} neighbouring ports are free")


def _wait_for_end(pids: list[int], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    left = pids
    while left and time.monotonic() < end:
        left = [pid for pid in left if Path(f"/proc/{pid}").exists()]
        time.sleep(0.1)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with Cluster(Path(sys.argv[1])) as running:
        print(running.run("sinfo", "-N", "-o", "%N %P %t %c %m %G"), flush=True)
        print(f"source {running.folder}/env.sh; Ctrl-C ends the cluster", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
