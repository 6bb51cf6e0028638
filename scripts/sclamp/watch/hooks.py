"""The moments of a workflow at which Snakemake calls back: it begins, it has ended well, it has failed."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sclamp.watch.jobs import Jobs

if TYPE_CHECKING:
    from sclamp.watch.live import Live


class Watch:
    """Made when the Snakefile is read, so that it hears everything; says something only in the calls below."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._live: Live | None = None
        self.jobs = Jobs()
        logger.addHandler(self.jobs)

    def begins(self) -> None:
        """The first job is about to start: where a terminal looks on, show what runs."""
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from sclamp.watch.live import Live

            self._live = Live(self.jobs, self._logger)
            self._live.start()

    def ends(self) -> None:
        """No job runs any more."""
        if self._live:
            self._live.end()
            self._live = None

    def succeeded(self, report: str) -> None:
        """Say where the report is, if this run has made it."""
        from sclamp.watch.summary import success_summary

        self.ends()
        text = success_summary(self.jobs, report, time.time() - self.jobs.start)
        if text:
            print(text, file=sys.stderr)

    def failed(self, targets: Iterable[str], without: Iterable[str], report: str) -> None:
        """Print the summary. targets: what was asked for. without: rules that make nothing. report: if one exists."""
        from sclamp.watch.summary import Command, failure_summary

        self.ends()
        command = Command(sys.argv, frozenset(map(str, targets)))
        print(f"\n{failure_summary(self.jobs, command, without, report)}", file=sys.stderr)
