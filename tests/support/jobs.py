"""Jobs of a workflow, as its dry run tells them, to be run (and struck) one by one without Snakemake."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from project import Project

UNTRACKED = (".log", ".benchmark.tsv")
"""Files under the results that tell of a run, not of its result."""


class Job(NamedTuple):
    """One job. inputs, outputs: paths in the project. command: as Snakemake runs it; log: what it writes its words to.

    seconds: how long it took with the rest of the workflow.
    """

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    log: str
    command: str
    seconds: float

    @property
    def spoken(self) -> str:
        """The command with its words on stderr instead of in the log."""
        return self.command.rpartition(" > ")[0]


def jobs_of(project: Project, *arguments: str) -> list[Job]:
    """All jobs behind the targets, in an order in which they can run; the project has been run."""
    told = project.snakemake("--dry-run", "--forceall", "--printshellcmds", *arguments)
    found = []
    for block in re.split(r"\n(?=(?:local)?rule \w+:)", told)[1:]:
        command = re.search(r"^Shell command: (.*)$", block, re.MULTILINE)
        if command and command[1] != "None":
            rule = block.partition("rule ")[2].partition(":")[0]
            inputs, outputs = _listed(block, "input"), _listed(block, "output")
            table = (project.folder / _listed(block, "benchmark")[0]).read_text(encoding="utf-8").split("\n")
            seconds = float(table[1].split("\t")[0])
            found.append(Job(rule, inputs, outputs, _listed(block, "log")[0], command[1], seconds))
    return found


def _listed(block: str, name: str) -> tuple[str, ...]:
    line = re.search(rf"^    {name}: (.*)$", block, re.MULTILINE)
    return tuple(line[1].split(", ")) if line else ()


def one_of_each_rule(jobs: list[Job]) -> list[Job]:
    """The first job of each rule."""
    return list({job.rule: job for job in reversed(jobs)}.values())[::-1]


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file of results, by its path; logs and benchmarks left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(UNTRACKED))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def environment(**more: str) -> dict[str, str]:
    """What processes of trials run with: one thread, so that trials do not wait for each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(command: str, folder: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a job's command in the project to its end."""
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds,
        check=False,
    )  # fmt: skip


def strike(
    command: list[str], folder: Path, number: signal.Signals, due: Callable[[float], bool], group: bool = True
) -> int:
    """Start a command, send a signal when it is due (asked again and again, with the seconds since the start).

    group: to all its processes, or to the first alone. As by a scheduler, what still runs a minute later is killed.
    Returns the exit status, negative for a signal.
    """
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, preexec_fn=_heed_interrupts,
    )  # fmt: skip
    start = time.monotonic()
    while process.poll() is None and not due(time.monotonic() - start):
        time.sleep(0.002)
    if process.poll() is None:
        (os.killpg if group else os.kill)(process.pid, number)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:  # Snakemake waits for running jobs, whatever became of them
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout=60)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where tests run in the background


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of this size at `folder`; yields a function that changes its size."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    mounted = mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk ({mounted.stderr.strip()})")
    try:
        yield lambda new: mount("-o", f"remount,size={new}", str(folder)).check_returncode()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call mount."""
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


OTHER_USER = 65534
_AS_OTHER = (
    "setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups",
    # It may read what this user may, such as the interpreter, but write only what is its own.
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--",
)  # fmt: skip


def as_other_user(*command: str) -> list[str]:
    """A command run by a user without rights, who can write nothing but what belongs to it."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can act as another user, with setpriv")
    return [*_AS_OTHER, *command]


def give_away(folder: Path) -> None:
    """Make everything in a folder the other user's."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)


def protect(folder: Path) -> None:
    """Take the right to write in a folder, and to whatever is in it, from everybody."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def workflow(*arguments: str) -> list[str]:
    """The command that runs a small project's workflow."""
    return [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "2", *arguments]


def ended(folder: Path, seconds: float = 120) -> None:
    """Wait until no process works in a folder any more."""
    until = time.monotonic() + seconds
    while any(_works_in(process, folder) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < until, f"processes still run in {folder}"
        time.sleep(0.1)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:  # it has ended, or is another user's
        return False
