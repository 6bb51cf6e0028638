"""What is said of long work: a line that renews itself on a terminal, few lines in a log."""

import io
import os
import time
from itertools import pairwise

import pytest

from sclamp.core import progress as module
from sclamp.core.progress import Line, Progress, doing, duration, naming, progress


class Out(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def silence_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Line, "_spoken", float("-inf"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("sclamp.core.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_early_and_then_one_in_fifteen_seconds(clock):
    out = Out(terminal=False)
    told, times = Progress(1000, "packing", "cells", out), []
    for _ in range(1000):
        clock[0] += 0.1
        before = len(out.getvalue())
        told.add()
        times += [clock[0] - 1000] * (len(out.getvalue()) > before)
    told.end()
    assert times[0] == pytest.approx(1.0, abs=0.11)
    assert all(15 <= later - earlier < 15.2 for earlier, later in pairwise(times))
    assert len(times) == 7
    lines = out.getvalue().splitlines()
    assert lines[1] == "packing: 160 of 1,000 cells, 10 cells/s, 84 s left"
    assert lines[-1] == "packing: 1,000 cells in 2 min"
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_renewed_cut_to_its_width_and_cleared(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = Out(terminal=True)
    told = Progress(100, "a long description of what is done", "cells", out)
    for _ in range(100):
        clock[0] += 0.1
        told.add()
    shown = out.getvalue().split("\r\x1b[K")
    assert 40 <= len(shown) <= 60
    assert all(len(text) < 40 and "\n" not in text for text in shown)
    told.end()
    assert out.getvalue().endswith("\r\x1b[Ka long description of what is done: 100 cells in 10 s\n")


def test_short_work_says_nothing(capfd):
    assert list(progress(range(5), 5, "short", "steps")) == [0, 1, 2, 3, 4]
    with doing("short"):
        pass
    assert capfd.readouterr().err == ""


def test_many_short_works_together_say_no_more_than_one_long_one(clock, capfd):
    for _ in range(50):
        for _ in progress(range(4), 4, "neighbours", "blocks"):
            clock[0] += 1
    assert 13 <= sum("blocks/s" in line for line in capfd.readouterr().err.splitlines()) <= 14


def test_an_unknown_total_and_no_step_at_all(clock):
    out = Out(terminal=False)
    told = Progress(0, "download", "MB", out)
    told.add(0)
    assert told.text() == "download: 0 MB, 0 MB/s"
    clock[0] += 2
    told.add(50)
    assert out.getvalue() == "download: 50 MB, 25 MB/s\n"
    assert (
        Progress(10, "nothing yet", "steps", out).text() == "nothing yet: 0 of 10 steps, 0 steps/s, unknown time left"
    )


def test_an_error_passes_through_and_the_items_before_it_are_told(clock, capfd):
    def broken():
        yield 1
        clock[0] += 3
        yield 2
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(progress(broken(), 3, "reading", "files"))
    assert capfd.readouterr().err.splitlines()[-1] == "reading: 2 files in 3 s"


def test_work_that_cannot_be_counted_names_its_part_while_it_lasts(capfd, monkeypatch):
    monkeypatch.setattr(module, "FIRST", 0.2)
    monkeypatch.setattr(module, "RENEWED", 0.05)
    with doing("scores") as now:
        now("clusters")
        time.sleep(0.6)
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["scores: clusters, for 0 s so far", "scores: done in 1 s"]


def test_items_that_take_long_are_named_when_they_begin_even_if_they_let_no_thread_run(clock, capfd, monkeypatch):
    monkeypatch.setattr(module, "RENEWED", 60.0)
    for item in naming(["nmi", "ari", "kbet"], "scores", str.upper):
        clock[0] += {"nmi": 0.5, "ari": 2, "kbet": 20}[item]
    assert capfd.readouterr().err.splitlines() == ["scores: KBET (3 of 3)", "scores: done in 22 s"]


def test_a_line_that_stays_takes_the_place_of_the_renewed_one():
    out = Out(terminal=True)
    line = Line(out)
    line.show("half")
    line.say("saved")
    assert out.getvalue() == "\r\x1b[Khalf\r\x1b[Ksaved\n"


def test_a_log_that_cannot_be_written_stops_no_work():
    with open("/dev/full", "w", buffering=1, encoding="utf-8") as out:
        line = Line(out)
        line.show("lost")
        line.say("lost, too")
        assert line.shown
        with pytest.raises(OSError, match="No space left"):
            out.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # what was not written must not fail again at the end


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89.6, "90 s"), (91, "2 min"), (5400, "90 min"), (9000, "2.5 h")]
)
def test_durations_as_one_says_them(seconds, text):
    assert duration(seconds) == text


def test_a_step_costs_less_than_two_microseconds():
    out = Out(terminal=False)
    told = Progress(200_000, "cheap", "steps", out)
    start = time.process_time()
    for _ in range(200_000):
        told.add()
    assert (time.process_time() - start) / 200_000 < 2e-6
