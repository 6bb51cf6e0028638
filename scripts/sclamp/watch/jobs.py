"""What Snakemake says of its jobs, kept: which run, which are done, which failed and what was said of them."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sclamp.watch.logs import unfinished

_LOST_OUTPUT = re.compile(r"in rule \S+ in file .*\nJob (\d+) ")


@dataclass
class Job:
    """A job as Snakemake announced it. logs: of the rule, then those of a scheduler. said: of its failure."""

    rule: str
    wildcards: str
    output: tuple[str, ...]
    logs: list[Path]
    shell: str = ""
    local: bool = True
    since: float = field(default_factory=time.time)
    said: str = ""

    @property
    def name(self) -> str:
        """Rule and wildcards."""
        return f"{self.rule} ({self.wildcards})" if self.wildcards else self.rule

    def own_logs(self) -> list[Path]:
        """The log of the rule, if this attempt has written it; clocks of machines may differ by a minute."""
        return [log for log in self.logs[:1] if log.is_file() and log.stat().st_mtime >= self.since - 60]


class Jobs(logging.Handler):
    """Listens to Snakemake's logger from the moment on that it is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.time()
        self.planned: Counter[str] = Counter()
        self.jobs: dict[int, Job] = {}
        self.running: set[int] = set()
        self.failed: set[int] = set()
        self.done: set[int] = set()
        self.errors: list[str] = []
        self._of_groups: set[int] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an event; of a text that is an error as well."""
        heard = getattr(self, f"_{getattr(record, 'event', None) or 'text'}", None)
        if heard is None:
            return
        try:
            heard(record)
        except Exception:  # an event of another form, as of another Snakemake: no reason to stop the workflow
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())

    def _error(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.errors.append(text)
        lost = _LOST_OUTPUT.search(text)
        if lost and int(lost[1]) in self.jobs:  # of this failure Snakemake gives no event of its own
            self._fails(int(lost[1]), text)

    def _run_info(self, record: Any) -> None:
        self.planned = Counter({rule: n for rule, n in record.stats.items() if rule != "total"})

    def _job_info(self, record: Any) -> None:
        number = int(record.jobid)
        wildcards = ", ".join(f"{name}={value}" for name, value in record.wildcards.items())
        logs = [Path(path) for path in record.log]
        shell, output = record.shellcmd or "", tuple(record.output)
        self.jobs[number] = Job(record.rule_name, wildcards, output, logs, shell, bool(record.local))
        self.running.add(number)
        self.failed.discard(number)

    def _job_finished(self, record: Any) -> None:
        number = int(record.job_id)
        self.running.discard(number)
        self.failed.discard(number)
        self.done.add(number)

    def _job_error(self, record: Any) -> None:
        number = int(record.jobid)
        if number not in self.jobs:
            return
        job = self.jobs[number]
        job.logs += [Path(path) for path in record.log if Path(path) not in job.logs]
        if record.indent and number not in self._of_groups:  # Snakemake calls every job of a failed group failed
            self.running.discard(number)
            return
        self._fails(number, record.rule_msg or "")

    def _group_error(self, record: Any) -> None:
        members = {int(info["jobid"]) for info in record.job_error_info} & set(self.jobs)
        began = {n for n in members if any(unfinished(log) for log in self.jobs[n].own_logs())}
        self._of_groups |= began or members  # a group that never began has failed as a whole
        for number in members:
            job = self.jobs[number]
            job.logs += [Path(path) for path in record.aux_logs if Path(path) not in job.logs]

    def _fails(self, number: int, message: str) -> None:
        self.jobs[number].said = message
        self.running.discard(number)
        self.failed.add(number)

    def said_of(self, job: Job) -> str:
        """Everything that Snakemake and the scheduler said of a failed job."""
        return "\n".join([job.said, *(text for text in self.errors if job.shell and job.shell in text)])

    def left(self, without: Iterable[str]) -> Counter[str]:
        """Rule -> how many of its jobs were planned and neither ended well nor failed; `without` some rules."""
        planned = Counter({rule: n for rule, n in self.planned.items() if rule not in set(without)})
        return planned - Counter(self.jobs[number].rule for number in self.done | self.failed)
