"""The summary in words: which model is best on which score, by how much, and which cannot be told apart."""

from __future__ import annotations

import math
from typing import NamedTuple

from sclamp.plot.scoreboard import CEILINGS, CONTROL, SCOPES, Board, Cell, Row, number
from sclamp.report.comparisons import Comparisons, Gain
from sclamp.report.words import joined

ONE_SEED = "There is one seed: intervals hold the noise of the cells, not that of training; none is called better."
UNTESTED = "Without tests of the differences small leads mean nothing."


class Leader(NamedTuple):
    """The best model (or baseline) on one score.

    lead: distance to the second, in the direction of better, with its interval. apart: which models cannot be told
    apart from the best, in words.
    """

    score: str
    group: str
    model: str
    value: str
    second: str
    lead: str
    baseline: str
    apart: str


class Verdict(NamedTuple):
    """What a board says: a headline, remarks that qualify it, and the leader on each score.

    winner: who ranks first, several where they cannot be told apart; empty where the ranking must not be used.
    """

    dataset: str
    scope: str
    headline: str
    remarks: list[str]
    leaders: list[Leader]
    winner: tuple[str, ...] = ()


def verdict(board: Board, tests: Comparisons) -> Verdict:
    """Put a board and the comparisons of its models into words."""
    leaders = [leader for i in range(len(board.columns)) if (leader := _leader(board, i, tests)) is not None]
    scope = SCOPES.get(board.scope, board.scope)
    if board.ranking is None or not board.leaders(board.ranking):
        headline = "No aggregate score exists, so there is no ranking."
        return Verdict(board.dataset, scope, headline, [], leaders)
    tied = tuple(row.model for row in _tied(board, board.ranking, tests))
    winner = () if _above(board, board.ranking) else tied
    headline = _headline(board, board.ranking, tests)
    return Verdict(board.dataset, scope, headline, _remarks(board, board.ranking, tests), leaders, winner)


def _tied(board: Board, column: int, tests: Comparisons) -> list[Row]:
    """The best model and those whose distance from it does not exceed the noise; the best alone without tests."""
    first, *rest = board.leaders(column)
    gains = [(row, tests.gain(board.columns[column], first.model, row.model)) for row in rest]
    return [first, *(row for row, gain in gains if gain is not None and gain.beyond is False)]


def _headline(board: Board, ranking: int, tests: Comparisons) -> str:
    title = board.columns[ranking].shown.title
    first, *rest = board.leaders(ranking)
    if above := _above(board, ranking):
        names = joined(f"{_short(row)} ({number(row.cells[ranking].value)})" for row in above)
        best = f"{first.model} ({_value(first.cells[ranking])})"
        who = f"the control {names} has" if len(above) == 1 else f"the controls {names} have"
        return f"No winner: {who} a higher {title} than the best model, {best}."
    tied = _tied(board, ranking, tests)
    values = joined(_value(row.cells[ranking]) for row in tied)
    if len(tied) == len(rest) + 1 > 1:
        return f"{_names(tied)} cannot be told apart: {title} {values}."
    after = next((row for row in rest if row not in tied), None)
    if after is None:
        return f"{first.model} ranks first: {title} {values}; no other model has this score."
    gap = f"{_lead(board, ranking, first, after, tests)} ahead of {after.model} ({_value(after.cells[ranking])})"
    if len(tied) == 1:
        return f"{first.model} ranks first: {title} {values}, {gap}."
    return f"{_names(tied)} rank first and cannot be told apart: {title} {values}. {first.model} is {gap}."


def _remarks(board: Board, ranking: int, tests: Comparisons) -> list[str]:
    first, *rest = board.leaders(ranking)
    remarks = []
    if rest and not tests:
        remarks.append(UNTESTED)
    elif rest and max(row.cells[ranking].n for row in (first, *rest)) == 1:
        remarks.append(ONE_SEED)
    if above := _above(board, ranking):
        names = joined(_short(row) for row in above)
        who = f"The control {names} scores" if len(above) == 1 else f"The controls {names} score"
        remarks.append(f"{who} higher than every model: this ranking must not be used.")
    tied = _tied(board, ranking, tests)
    baseline = next(iter(board.of_kind("baseline")), None)
    if baseline is first:
        remarks.append(f"No model is ahead of the baseline {first.model}.")
    elif baseline is not None and baseline in tied:
        remarks.append(f"No model is ahead of the baseline {baseline.model} beyond the noise.")
    elif baseline is not None and baseline not in rest[:1] and not math.isnan(baseline.cells[ranking].value):
        value = number(baseline.cells[ranking].value)
        gap = _lead(board, ranking, first, baseline, tests)
        remarks.append(f"Against the baseline {baseline.model} ({value}): +{gap}.")
    below: dict[str, list[str]] = {}
    for row in board.of_kind("model"):
        for control in row.below:
            below.setdefault(control.removeprefix(CONTROL), []).append(row.model)
    return remarks + [f"Ranked below {control}: {', '.join(models)}." for control, models in below.items()]


def _above(board: Board, ranking: int) -> list[Row]:
    """Controls that score higher than the best model; those that know the answer do not count."""
    first = board.leaders(ranking)[0]
    bars = [row for row in board.of_kind("control") if row.model not in CEILINGS]
    return [row for row in bars if row.cells[ranking].value > first.cells[ranking].value]


def _leader(board: Board, column: int, tests: Comparisons) -> Leader | None:
    rows = board.leaders(column)
    if not rows or board.columns[column].shown.control:
        return None
    first, second = rows[0], rows[1] if len(rows) > 1 else None
    shown = board.columns[column].shown
    baseline = next((row.cells[column].value for row in board.of_kind("baseline")), math.nan)
    return Leader(
        score=shown.title,
        group=shown.group,
        model=first.model,
        value=_value(first.cells[column]),
        second=second.model if second else "",
        lead=_lead(board, column, first, second, tests) if second else "",
        baseline="" if math.isnan(baseline) else number(baseline),
        apart=_apart(rows, [row.model for row in _tied(board, column, tests)[1:]], _tested(board, column, tests)),
    )


def _tested(board: Board, column: int, tests: Comparisons) -> bool:
    first, *rest = board.leaders(column)
    gains: list[Gain | None] = [tests.gain(board.columns[column], first.model, row.model) for row in rest]
    return any(gain is not None and gain.beyond is not None for gain in gains)


def _apart(rows: list[Row], tied: list[str], tested: bool) -> str:
    if len(rows) < 2:
        return ""
    if not tested:
        return "not tested"
    if not tied:
        return "yes"
    return "from no other" if len(tied) == len(rows) - 1 else f"not from {joined(tied)}"


def _lead(board: Board, column: int, first: Row, second: Row, tests: Comparisons) -> str:
    """Distance of two models, with its interval where that is known."""
    gain = tests.gain(board.columns[column], first.model, second.model)
    if gain is not None:
        return f"{number(gain.value)} {gain.interval}".strip()
    return number(abs(first.cells[column].value - second.cells[column].value))


def _value(cell: Cell) -> str:
    """A mean with its interval; without one, with its spread over seeds."""
    if cell.estimate.has_interval:
        return f"{number(cell.value)} [{number(cell.estimate.low)}, {number(cell.estimate.high)}]"
    return number(cell.value) + ("" if math.isnan(cell.spread) else f" ± {cell.spread:.3f} over {cell.n} seeds")


def _names(rows: list[Row]) -> str:
    return joined(row.model for row in rows)


def _short(row: Row) -> str:
    return row.model.removeprefix(CONTROL)
