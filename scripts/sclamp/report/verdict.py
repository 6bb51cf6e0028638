"""The summary in words: which model is best on which score, by how much, and what that is worth."""

from __future__ import annotations

import math
from typing import NamedTuple

from sclamp.plot.scoreboard import CEILINGS, CONTROL, SCOPES, Board, Cell, Row, number


class Leader(NamedTuple):
    """The best model (or baseline) on one score. lead: distance to the second, in the direction of better."""

    score: str
    group: str
    model: str
    value: str
    second: str
    lead: str
    baseline: str
    certain: bool


class Verdict(NamedTuple):
    """What a board says: a headline, remarks that qualify it, and the leader on each score."""

    dataset: str
    scope: str
    headline: str
    remarks: list[str]
    leaders: list[Leader]


def verdict(board: Board) -> Verdict:
    """Put a board into words."""
    leaders = [leader for i in range(len(board.columns)) if (leader := _leader(board, i)) is not None]
    scope = SCOPES.get(board.scope, board.scope)
    if board.ranking is None or not board.leaders(board.ranking):
        headline = "No aggregate score exists, so there is no ranking."
        return Verdict(board.dataset, scope, headline, [], leaders)
    return Verdict(board.dataset, scope, _headline(board, board.ranking), _remarks(board, board.ranking), leaders)


def _headline(board: Board, ranking: int) -> str:
    title = board.columns[ranking].shown.title
    first, *rest = board.leaders(ranking)
    words = f"{first.model} ranks first: {title} {_with_spread(first.cells[ranking])}"
    if not rest:
        return words + "; no other model has this score."
    second = rest[0]
    gap = first.cells[ranking].value - second.cells[ranking].value
    return f"{words}, {gap:.3f} ahead of {second.model} ({_with_spread(second.cells[ranking])})."


def _remarks(board: Board, ranking: int) -> list[str]:
    first, *rest = board.leaders(ranking)
    remarks = []
    if rest and not _beyond_noise(first.cells[ranking], rest[0].cells[ranking]):
        if first.cells[ranking].n > 1 and rest[0].cells[ranking].n > 1:
            remarks.append("The lead is within the spread over seeds: read the two as equal.")
        else:
            remarks.append("With one seed there is no measure of chance: small leads mean nothing.")
    above = [c for c in board.of_kind("control") if c.model not in CEILINGS]
    above = [c for c in above if c.cells[ranking].value > first.cells[ranking].value]
    if above:
        names = " and ".join(c.model.removeprefix(CONTROL) for c in above)
        remarks.append(f"The control {names} scores higher than every model: this ranking must not be used.")
    baseline = next(iter(board.of_kind("baseline")), None)
    if baseline is first:
        remarks.append(f"No model is ahead of the baseline {first.model}.")
    elif baseline is not None and not math.isnan(baseline.cells[ranking].value):
        gap = first.cells[ranking].value - baseline.cells[ranking].value
        remarks.append(f"Against the baseline {baseline.model} ({number(baseline.cells[ranking].value)}): {gap:+.3f}.")
    below = [row for row in board.of_kind("model") if row.below]
    remarks += [f"{row.model} ranks below {_names(row)}: it adds nothing." for row in below]
    return remarks


def _names(row: Row) -> str:
    return " and ".join(name.removeprefix(CONTROL) for name in row.below)


def _leader(board: Board, column: int) -> Leader | None:
    rows = board.leaders(column)
    if not rows:
        return None
    first, second = rows[0], rows[1] if len(rows) > 1 else None
    shown = board.columns[column].shown
    baseline = next((row for row in board.of_kind("baseline")), None)
    return Leader(
        score=shown.title,
        group=shown.group,
        model=first.model,
        value=_with_spread(first.cells[column]),
        second=second.model if second else "",
        lead=f"{abs(first.cells[column].value - second.cells[column].value):.3f}" if second else "",
        baseline=number(baseline.cells[column].value)
        if baseline and not math.isnan(baseline.cells[column].value)
        else "",
        certain=second is not None and _beyond_noise(first.cells[column], second.cells[column]),
    )


def _beyond_noise(first: Cell, second: Cell) -> bool:
    """Whether two means differ by more than twice the standard error of their difference (both need several seeds)."""
    if first.n < 2 or second.n < 2:
        return False
    error = math.sqrt(first.spread**2 / first.n + second.spread**2 / second.n)
    return abs(first.value - second.value) > 2 * error


def _with_spread(cell: Cell) -> str:
    if math.isnan(cell.spread):
        return number(cell.value)
    return f"{number(cell.value)} ± {cell.spread:.3f} over {cell.n} seeds"
