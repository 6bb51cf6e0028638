"""Runs jobs of a project in processes forked from one that has imported what is slow to import.

A trial then costs what the job itself costs, and strikes it at its work rather than at its imports.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

IMPORTED = (
    "numpy", "pandas", "scipy.sparse", "scipy.stats", "h5py", "anndata", "pyarrow.parquet", "torch", "numba",
    "matplotlib.backends.backend_agg", "jinja2", "pydantic", "sklearn.cluster", "sklearn.linear_model",
)  # fmt: skip


class Result(NamedTuple):
    """What became of a job. status: exit status, negative for a signal; said: its log; struck: before it had ended."""

    status: int
    said: str
    seconds: float
    struck: bool


class Forks:
    """A server of forks; close it at the end."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        """prefix: a command that runs the server, as another user say."""
        self._server = subprocess.Popen(
            [*prefix, sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def run(
        self, folder: Path, command: str, log: str, number: signal.Signals | None = None,
        due: Callable[[float], bool] = lambda seconds: False,
    ) -> Result:  # fmt: skip
        """Run a job's command to its end, or until it is struck by a signal when that is due (see jobs.strike)."""
        words = shlex.split(command.rpartition(" > ")[0])
        script = next(i for i, word in enumerate(words) if word.endswith(".py"))
        told = dict(word.split("=", 1) for word in words[:script] if word.startswith("SCLAMP_"))
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({"folder": str(folder), "argv": words[script:], "log": log, "told": told}) + "\n")
        server.stdin.flush()
        process, start = int(server.stdout.readline()), time.monotonic()
        struck = number is None
        while not select.select([server.stdout], [], [], 10.0 if struck else 0.001)[0]:
            if not struck and number is not None and due(time.monotonic() - start):
                struck = True
                os.kill(process, number)
        status = int(server.stdout.readline())
        path = folder / log
        said = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return Result(status, said[-2000:], time.monotonic() - start, struck and number is not None)

    def close(self) -> None:
        """End the server."""
        self._server.communicate("", timeout=60)


def serve() -> None:
    """Fork for each line that comes in: tell the process, then its exit status."""
    for name in IMPORTED:
        importlib.import_module(name)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        task = json.loads(line)
        process = os.fork()
        if process == 0:
            _work(**task)
        print(process, file=out, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=out, flush=True)


def _work(folder: str, argv: list[str], log: str, told: dict[str, str]) -> None:
    """Be the script, as `TOLD python SCRIPT ARGUMENTS > LOG 2>&1` would."""
    status: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        os.chdir(folder)
        os.environ.update(told)
        sys.path.insert(0, str(Path(argv[0]).parent.absolute()))
        log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for number in (1, 2):
            os.dup2(log_file, number)
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    serve()
