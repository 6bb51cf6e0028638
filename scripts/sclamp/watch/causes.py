"""Why a job failed, as far as its log and the scheduler tell, and what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

SHOWN = 8
"""Lines shown of one cause."""


class Cause(NamedTuple):
    """kind: one word. why: lines. todo: advice."""

    kind: str
    why: tuple[str, ...]
    todo: str

    @property
    def key(self) -> tuple[str, ...]:
        """What equal causes of different jobs share: numbers and paths may differ."""
        return self.kind, *(re.sub(r"\S*/\S+", "PATH", re.sub(r"\d+", "0", line)) for line in self.why)


class _Sign(NamedTuple):
    """How a cause is recognised: by what the scheduler says, or by the end of the log."""

    kind: str
    said: str
    logged: str
    what: str
    todo: str


_MEMORY_TODO = (
    "more memory: close other programs or run fewer jobs at once (--cores), or ask for more with "
    "`resources: {memory_scale: 2}`; trainings also need less with a smaller batch_size"
)
_SIGNS = (
    _Sign(
        "device memory", r"(?!)", r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError: CUDA",
        "the GPU's memory was full",
        "a smaller batch_size, or `resources: {jobs_per_gpu: 1}` where several trainings share a GPU",
    ),
    _Sign(
        "memory", r"OUT_OF_MEMORY", r"MemoryError|Cannot allocate memory|Unable to allocate|bad_alloc|oom.kill|"
        r"Exceeded job memory limit|not enough memory",
        "out of memory", _MEMORY_TODO,
    ),
    _Sign(
        "time", r"TIMEOUT|DEADLINE", r"DUE TO TIME LIMIT", "the time limit was reached",
        "the same command: a training goes on from where it was; for other jobs ask for more time with "
        "`resources: {runtime_scale: 2}`",
    ),
    _Sign(
        "disk", r"(?!)", r"No space left on device|the disk is full|Disk quota exceeded", "the disk is full",
        "free some space, or move `output` to another disk; nothing half-written was kept",
    ),
    _Sign(
        "killed", r"SIGKILL|exit status (?:137|-9)\b", r"(?!)",
        "killed by the system (SIGKILL), most often because memory ran out", _MEMORY_TODO,
    ),
    _Sign(
        "stopped", r"CANCELLED|NODE_FAIL|PREEMPTED|BOOT_FAIL|REVOKED|SIG(?:TERM|INT|HUP|USR1)|"
        r"exit status (?:129|130|138|143)\b", r"(?!)",
        "stopped from outside", "the same command; a training goes on from where it was",
    ),
    _Sign(
        "not submitted", r"sbatch failed|submission failed", r"(?!)", "the scheduler did not take the job",
        "read the scheduler's message; partitions, account and GPU requests stand in profiles/slurm/config.yaml",
    ),
    _Sign(
        "lost output", r"MissingOutputException", r"(?!)", "the job ended well, but its files are not there",
        "a slow network file system needs a longer --latency-wait",
    ),
    _Sign(
        "installation", r"(?!)", r"^(?:ModuleNotFoundError|ImportError)\b", "a package is missing",
        "install envs/requirements.txt into the Python that runs Snakemake, or run `make demo`, which does",
    ),
)  # fmt: skip


def cause_of(said: str, lines: Sequence[str], of_scheduler: Sequence[str] = ()) -> Cause:
    """The cause by what was said of the job, the last lines of its log, and of its scheduler's log.

    The most certain sign comes first: problems that our own scripts name, then the signs above, then an exception.
    """
    problems = _problems(lines)
    logged = "\n".join([*lines, *of_scheduler])
    for sign in _SIGNS:
        found = re.search(sign.said, said) or re.search(sign.logged, logged, re.MULTILINE)
        if found and (not problems or sign.kind in {"disk", "memory", "device memory"}):
            why = problems or (sign.what, *_line_with(found[0], [*lines, *of_scheduler, *said.splitlines()]))
            return Cause(sign.kind, tuple(why), sign.todo)
    if problems:
        return Cause("input", tuple(problems), "correct what is named above; only what depends on it is made again")
    words = [line for line in lines if line.strip()]
    if any(line.startswith("Traceback") for line in words):
        where = [line.strip() for line in words if line.lstrip().startswith("File ")][-1:]
        todo = "this is no fault of yours as far as the log tells: please report it with the log"
        return Cause("error", (words[-1], *where), todo)
    if words:
        return Cause("unknown", tuple(words[-SHOWN:]), "read the whole log")
    ended = re.search(r"exit status \S+\b|died with \S+", said)
    silence = f"no words in its log{f'; {ended[0]}' if ended else ''}"
    return Cause("silent", (silence,), "run it alone, with the command below, and watch")


def _problems(lines: Sequence[str]) -> list[str]:
    """What a script listed before it gave up (sclamp.core.cli), or the errors in the table of a check."""
    heads = [i for i, line in enumerate(lines) if re.match(r"\w+\.py: \d+ problems?$", line)]
    listed = [line for line in lines[heads[-1] + 1 :] if line.startswith("  ")] if heads else []
    found = [line.strip().removeprefix("- ") for line in listed]
    found = found or [re.sub(r"\s+", " ", line[5:]).strip() for line in lines if line.startswith("ERROR ")]
    return [*found[:SHOWN], f"... and {len(found) - SHOWN} more in the log"] if len(found) > SHOWN else found


def _line_with(words: str, lines: Sequence[str]) -> list[str]:
    """The line that gave a cause away; not a whole command."""
    told = [line for line in lines if words in line and not line.startswith(("Command ", "MissingOutputException"))]
    return [line.strip()[:300] for line in told[-1:]]
