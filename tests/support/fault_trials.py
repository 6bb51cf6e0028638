"""Counts trials of faults: how many were made, of which kind, and how many ended as they must.

A test asks for the fixture `trials`, makes faults, and says of each whether the project survived it. The numbers of all
tests, of all workers, stand in one table at the end of the session.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

KINDS = (
    "killed", "disk full", "damaged file", "not a number", "read-only", "two at once", "clock", "odd path",
    "other user", "hostile file",
)  # fmt: skip


class Trials:
    """Trials of one test. random: where and when to strike, the same for the same test and seed."""

    def __init__(self, name: str, seed: int, whole: bool) -> None:
        self.random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self.counted: Counter[tuple[str, bool]] = Counter()
        self.losses: list[str] = []
        self._whole = whole

    def number(self, quick: int, whole: int) -> int:
        """How many trials to make: few in the usual test suite, more when all are asked for."""
        return whole if self._whole else quick

    def survived(self, kind: str, what: str) -> None:
        """A trial ended in a clear message or a clean resume. what: shown with -s."""
        self._count(kind, True)
        print(f"survived, {kind}: {what}")

    def lost(self, kind: str, what: str, why: str) -> None:
        """A trial ended otherwise; the test fails when all its trials are made."""
        self._count(kind, False)
        self.losses.append(f"{kind}: {what}: {why}")

    def _count(self, kind: str, survived: bool) -> None:
        assert kind in KINDS, f"'{kind}' is none of {', '.join(KINDS)}"
        self.counted[kind, survived] += 1


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--all-trials", action="store_true", help="make all trials of faults, not a few of each kind")
    group.addoption("--trials-seed", type=int, default=0, help="seed of where and when faults strike")
    group.addoption("--trials-json", type=Path, help="file to write the numbers of trials to")


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """What the test counts its trials with."""
    config = request.config
    made = Trials(request.node.nodeid, config.getoption("--trials-seed"), config.getoption("--all-trials"))
    yield made
    for (kind, survived), number in made.counted.items():
        request.node.user_properties.append(("trials", [kind, survived, number]))  # these reach the first process
    if made.losses:
        pytest.fail(f"{len(made.losses)} of {sum(made.counted.values())} trials lost:\n" + "\n".join(made.losses))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counted = _sums(terminalreporter)
    if not counted:
        return
    terminalreporter.section("trials of faults")
    total = {"trials": 0, "survived": 0}
    for kind in KINDS:
        if kind in counted:
            terminalreporter.write_line(
                f"{kind:14}{counted[kind]['trials']:6d} trials {counted[kind]['survived']:6d} survived"
            )
            total = {name: total[name] + counted[kind][name] for name in total}
    terminalreporter.write_line(f"{'all':14}{total['trials']:6d} trials {total['survived']:6d} survived")
    if (path := config.getoption("--trials-json")) is not None:
        path.write_text(json.dumps({**counted, "all": total}, indent=2) + "\n", encoding="utf-8")


def _sums(reporter: pytest.TerminalReporter) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "teardown":
                continue
            for name, value in report.user_properties:
                if name == "trials":
                    kind, survived, number = value
                    row = counted.setdefault(kind, {"trials": 0, "survived": 0})
                    row["trials"] += number
                    row["survived"] += number * survived
    return counted
