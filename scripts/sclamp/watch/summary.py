"""The last words of a workflow: what failed, why, what was not run because of it, and what to do."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sclamp.watch.causes import Cause, cause_of
from sclamp.watch.jobs import Job, Jobs
from sclamp.watch.logs import tail

RULE = "-" * 100
NAMED = 3
"""Jobs with the same cause, and rules that were not run, that are named."""
_READ = 80


class Command(NamedTuple):
    """How Snakemake was called. targets: those of `arguments` that name what to make."""

    arguments: Sequence[str]
    targets: frozenset[str] = frozenset()

    def only(self, output: str) -> str:
        """The same command for one file."""
        options = [word for word in self.arguments[1:] if word not in self.targets]
        return shlex.join([*_program(self.arguments[0]), output, *options])


def failure_summary(jobs: Jobs, command: Command, without: Iterable[str] = (), report: str = "") -> str:
    """The summary of a workflow that failed.

    without: rules that make nothing, such as `all`. report: the page that was written of what exists.
    """
    by_cause: dict[tuple[str, ...], list[tuple[Job, Cause]]] = {}
    for job in sorted((jobs.jobs[number] for number in jobs.failed), key=lambda job: (job.rule, job.wildcards)):
        cause = _cause(jobs, job)
        by_cause.setdefault(cause.key, []).append((job, cause))
    blocks = [_counts(jobs, len(by_cause), without)]
    blocks += [_block(n, found, command) for n, found in enumerate(by_cause.values(), start=1)]
    if not by_cause and jobs.errors:
        blocks.append("\n".join(["Snakemake said:", *(f"  {line}" for line in jobs.errors[-1].splitlines()[:20])]))
    kept = "The same command goes on: finished work is kept, and only what is missing is made."
    page = [f"What exists, with the failed jobs' last lines: {report}"] if report else []
    return "\n".join([RULE, "\n\n".join(blocks), "", kept, *page, RULE])


def _cause(jobs: Jobs, job: Job) -> Cause:
    own, *others = [tail(log, _READ) if log.is_file() else [] for log in job.logs] or [[]]
    return cause_of(jobs.said_of(job), own, [line for lines in others for line in lines])


def _counts(jobs: Jobs, causes: int, without: Iterable[str]) -> str:
    left = jobs.left(without)
    failed = len(jobs.failed)
    for_causes = f", for {causes} reasons" if causes > 1 else ", for one reason" if failed > 1 else ""
    text = f"{_jobs(failed)} failed{for_causes}; " if failed else "The workflow stopped before its end, no job failed; "
    text += f"{_jobs(len(jobs.done))} ended well"
    if not left:
        return f"{text}."
    return f"{text}; {_jobs(left.total())} {'is' if left.total() == 1 else 'are'} still to be done: {_named(left)}."


def _jobs(n: int) -> str:
    return f"{n} job{'s' * (n != 1)}"


def _named(rules: Counter[str]) -> str:
    ordered = sorted(rules.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{n} {rule}" for rule, n in ordered[: 2 * NAMED]]
    rest = sum(n for _, n in ordered[2 * NAMED :])
    return ", ".join([*words, f"{rest} others"] if rest else words)


def _block(number: int, found: list[tuple[Job, Cause]], command: Command) -> str:
    (job, cause), *others = found
    lines = [f"{number}. {job.name}"]
    lines += [f"   and {other.name}" for other, _ in others[:NAMED]]
    if len(others) > NAMED:
        lines.append(f"   and {len(others) - NAMED} more")
    lines += [f"   {'why: ' if i == 0 else '     '}{line}" for i, line in enumerate(cause.why)]
    lines.append(f"   do:  {cause.todo}")
    lines += [f"   log: {log}" for log in job.logs if log.is_file()]
    if job.output:
        lines.append(f"   only this job: {command.only(job.output[0])}")
    return "\n".join(lines)


def success_summary(jobs: Jobs, report: str, seconds: float) -> str:
    """Where the report is; empty when this run has not written it."""
    from sclamp.core.progress import duration

    if not any(report in jobs.jobs[number].output for number in jobs.done):
        return ""
    return f"Done in {duration(seconds)}. Open the report in a browser: {Path(report).resolve().as_uri()}"


def _program(path: str) -> list[str]:
    """How the program is called here: by its name where the shell finds that one, else by its path."""
    if path.endswith("__main__.py"):
        return [*_program(sys.executable), "-m", "snakemake"]
    known = shutil.which(Path(path).name)
    if known and Path(known).resolve() == Path(path).resolve():
        return [Path(path).name]
    here = Path.cwd()
    return [str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path]
