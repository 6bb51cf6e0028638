"""Runs a script again and again, each time in a process of its own that may crash, hang or eat memory.

A server process has imported what is slow to import and forks for every trial, so that a trial costs what the script
itself costs. What a fork did is told: its exit status or signal, what it said, how long it took.

    outcome = worker().script("prepare_cells.py", "--output", path, seconds=20)
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
IMPORTED = (
    "numpy", "pandas", "scipy.sparse", "h5py", "anndata", "pyarrow.parquet", "torch", "numba", "sclamp.config.root",
    "sclamp.data.prepare", "sclamp.data.select", "sclamp.data.source_h5ad", "sclamp.data.source_tenx",
    "sclamp.priors.files", "sclamp.priors.align", "sclamp.priors.sources", "sclamp.priors.text", "sclamp.train.run",
    "sclamp.evaluate.read", "sclamp.evaluate.neighbors", "sclamp.evaluate.gene_terms", "sclamp.plot.training",
    "sclamp.report.datasets", "sclamp.models.scvi", "sclamp.models.scilama", "sclamp.models.pca",
)  # fmt: skip
MORE_MEMORY = 3 << 30
"""Bytes of address space that a trial may take beyond what the server has."""


class Outcome(NamedTuple):
    """What became of a trial. status: exit status, negative for a signal, None when it was stopped for its time."""

    status: int | None
    said: str
    seconds: float

    @property
    def death(self) -> str:
        """Why this is no orderly end; empty for one."""
        if self.status is None:
            return f"did not end within {self.seconds:.0f} s"
        if self.status < 0:
            return f"the interpreter died by {signal.Signals(-self.status).name}: {self.said[-600:]}"
        if "Traceback (most recent call last)" not in self.said:
            return ""
        lines = self.said.splitlines()
        ours = [line.strip() for line in lines if "/sclamp/" in line and line.lstrip().startswith("File")]
        return f"a traceback: {lines[-1][:300]} at {ours[-1].partition('/sclamp/')[2] if ours else '?'}"


class Worker:
    """The server, started when it is first needed and again should it end."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def script(self, name: str, *arguments: Any, seconds: float = 30, cwd: Path | None = None) -> Outcome:
        """Run a script of scripts/ with arguments."""
        return self._ask({"script": name, "arguments": [str(a) for a in arguments]}, seconds, cwd)

    def call(self, function: str, *arguments: Any, seconds: float = 30, cwd: Path | None = None) -> Outcome:
        """Call "module:function" with arguments that JSON can hold; a UserError ends it as it ends a script."""
        return self._ask({"call": function, "arguments": list(arguments)}, seconds, cwd)

    def _ask(self, task: dict[str, Any], seconds: float, cwd: Path | None) -> Outcome:
        if self._server is None or self._server.poll() is not None:
            self._start()
        server = self._server
        assert server and server.stdin and server.stdout
        task |= {"seconds": seconds, "cwd": str(cwd or tempfile.gettempdir())}
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        return Outcome(*json.loads(server.stdout.readline()))

    def _start(self) -> None:
        folders = [str(SCRIPTS), str(Path(__file__).parent)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        """End the server."""
        if self._server is not None and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()


@functools.cache
def worker() -> Worker:
    """The worker of this process."""
    made = Worker()
    atexit.register(made.close)
    return made


# --- in the server ----------------------------------------------------------------------------------------------------


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_trial(json.loads(line))), flush=True)


def _trial(task: dict[str, Any]) -> tuple[int | None, str, float]:
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            _run(task, said.fileno())
        ended = os.pidfd_open(child)
        with contextlib.closing(os.fdopen(ended)):
            in_time = bool(select.select([ended], [], [], task["seconds"])[0])
            if not in_time:
                os.kill(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
        said.seek(0)
        text = said.read()[-20_000:].decode(errors="replace")
    seconds = used.ru_utime + used.ru_stime if in_time else task["seconds"]
    return (os.waitstatus_to_exitcode(status) if in_time else None), text, seconds


def _run(task: dict[str, Any], output: int) -> None:
    """In the fork: run the task and leave without a word to the server."""
    status = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + MORE_MEMORY, taken + MORE_MEMORY))
        os.chdir(task["cwd"])
        status = _do(task)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _do(task: dict[str, Any]) -> int:
    try:
        if "script" in task:
            path = SCRIPTS / task["script"]
            sys.argv = [str(path), *task["arguments"]]
            runpy.run_path(str(path), run_name="__main__")
        else:
            from sclamp.core import cli

            module, _, name = task["call"].partition(":")
            sys.argv = [name]
            function = getattr(importlib.import_module(module), name)
            cli.run(lambda: function(*task["arguments"]))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    _serve()
