"""What a training says of itself."""

import io

import pytest

from sclamp.train.report import Report


class Trained:
    """Plays a training: a clock, and steps of 100 of 1,000 cells that take as long as one says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, terminal: bool = False, **report: int) -> None:
        self.now = 100.0
        monkeypatch.setattr("sclamp.train.report.time.monotonic", lambda: self.now)
        self.out = io.StringIO()
        self.out.isatty = lambda: terminal  # type: ignore[method-assign]
        self.report = Report(**{"max_epochs": 10, "cells_per_epoch": 1000, **report}, out=self.out)
        self.rate: float | None = None

    def epoch(self, number: int, seconds: float, first: int = 0, validation: float = 0.0, waited: int = 0) -> None:
        for step in range(first, 10):
            self.now += seconds
            self.report.step(number, (step + 1) * 100, 100)
        self.now += validation
        self.rate = self.report.epoch({"train_loss": 12.5, "val_loss": 11.25}, 11.0, waited)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_names_epoch_best_time_left_speed_and_losses(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    trained = Trained(monkeypatch, terminal)
    for epoch in range(2):
        trained.epoch(epoch, seconds=20)
    said = "epoch 2/10 (100%), best 11, at most 27 min left, 5 cells/s, train loss 12.5, val loss 11.25"
    assert trained.lines[-1].endswith(said)
    assert ("\x1b[K" in trained.out.getvalue()) == terminal


def test_a_log_gets_its_first_line_at_once_and_then_one_in_fifteen_seconds(monkeypatch):
    trained = Trained(monkeypatch)
    for epoch in range(10):
        trained.epoch(epoch, seconds=1)
    assert trained.lines[0] == "epoch 1/10 (10%)"
    assert 6 <= len(trained.lines) <= 8


def test_the_first_step_and_then_the_first_epoch_do_not_count(monkeypatch):
    trained = Trained(monkeypatch)
    trained.now += 600  # reading and compiling until the first step has ended
    trained.epoch(0, seconds=20)
    assert "at most 30 min left, 5 cells/s" in trained.lines[-1]
    trained.epoch(1, seconds=2)
    trained.epoch(2, seconds=2)
    trained.epoch(3, seconds=2)
    assert "epoch 4/10 (40%), best 11, at most 2 min left, 50 cells/s" in trained.lines[-1]


def test_validations_count_into_the_time_left_but_not_into_the_speed_of_an_epoch(monkeypatch):
    trained = Trained(monkeypatch)
    for epoch in range(3):
        trained.epoch(epoch, seconds=2, validation=40)
    trained.now += 15
    trained.report.step(3, 100, 100)
    assert "at most 7 min left" in trained.lines[-1]  # 6.9 epochs of 60 s
    assert trained.rate == pytest.approx(50)


def test_a_resumed_training_counts_from_where_it_went_on(monkeypatch):
    trained = Trained(monkeypatch)
    trained.epoch(7, seconds=20, first=8)
    trained.epoch(8, seconds=20)
    assert "epoch 9/10 (100%), best 11, at most 3 min left, 5 cells/s" in trained.lines[-1]
    assert trained.report.speed() == "5 cells/s, 3 min per epoch"


def test_early_stopping_is_counted(monkeypatch):
    trained = Trained(monkeypatch, patience=25)
    trained.epoch(0, seconds=20)
    trained.epoch(1, seconds=20, waited=3)
    trained.epoch(2, seconds=20, waited=4)
    assert "not better" not in trained.lines[6]
    assert trained.lines[-1].endswith("val loss 11.25, not better in 3 of 25 validations")


def test_the_last_words_when_nothing_was_trained_or_in_less_than_a_second(monkeypatch):
    trained = Trained(monkeypatch)
    assert trained.report.speed() == "too short to be timed"
    trained.epoch(0, seconds=0.01)
    assert trained.report.speed() == "10,000 cells/s"


def test_a_long_validation_is_told(monkeypatch):
    trained = Trained(monkeypatch)
    trained.epoch(0, seconds=0.05)
    trained.now += 15
    trained.report.validating(0, 8192, 50_000)
    assert trained.lines[-1] == "epoch 1/10: validated 8,192 of 50,000 cells"
