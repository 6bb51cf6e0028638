"""The summary in words: which model is best on which score, by how much, and what that is worth."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from sclamp.plot.scoreboard import CEILINGS, CONTROL, SCOPES, Board, Cell, number

Chance = Literal["beyond", "within", "one seed", "no spread", ""]
EXACT = 5e-4
"""A standard error below what three decimals show: both models give the same with every seed."""
T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""97.5% quantiles of Student's t for 1, 2, ... degrees of freedom."""
REMARKS: dict[str, str] = {
    "within": "The lead is within the spread over seeds: read the two as equal.",
    "one seed": "With one seed there is no measure of chance: small leads mean nothing.",
    "no spread": "Both give the same with every seed; how the lead varies with the cells is not measured.",
}


class Leader(NamedTuple):
    """The best model (or baseline) on one score.

    lead: distance to the second, in the direction of better. chance: how the lead compares with the spread over seeds.
    """

    score: str
    group: str
    model: str
    value: str
    second: str
    lead: str
    baseline: str
    chance: Chance


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
    if rest:
        chance = _chance(first.cells[ranking], rest[0].cells[ranking])
        remarks += [REMARKS[chance]] if chance in REMARKS else []
    above = [c for c in board.of_kind("control") if c.model not in CEILINGS]
    above = [c for c in above if c.cells[ranking].value > first.cells[ranking].value]
    if above:
        names = " and ".join(c.model.removeprefix(CONTROL) for c in above)
        remarks.append(f"The control {names} scores higher than every model: this ranking must not be used.")
    baseline = next(iter(board.of_kind("baseline")), None)
    if baseline is first:
        remarks.append(f"No model is ahead of the baseline {first.model}.")
    elif baseline is not None and baseline not in rest[:1] and not math.isnan(baseline.cells[ranking].value):
        gap = first.cells[ranking].value - baseline.cells[ranking].value
        remarks.append(f"Against the baseline {baseline.model} ({number(baseline.cells[ranking].value)}): {gap:+.3f}.")
    below: dict[str, list[str]] = {}
    for row in board.of_kind("model"):
        for control in row.below:
            below.setdefault(control.removeprefix(CONTROL), []).append(row.model)
    return remarks + [f"Ranked below {control}: {', '.join(models)}." for control, models in below.items()]


def _leader(board: Board, column: int) -> Leader | None:
    rows = board.leaders(column)
    if not rows:
        return None
    best, second = rows[0].cells[column], rows[1].cells[column] if len(rows) > 1 else None
    shown = board.columns[column].shown
    baseline = next((row.cells[column].value for row in board.of_kind("baseline")), math.nan)
    return Leader(
        score=shown.title,
        group=shown.group,
        model=rows[0].model,
        value=number(best.value) + ("" if math.isnan(best.spread) else f" ± {best.spread:.3f}"),
        second=rows[1].model if second else "",
        lead=f"{abs(best.value - second.value):.3f}" if second else "",
        baseline="" if math.isnan(baseline) else number(baseline),
        chance=_chance(best, second) if second else "",
    )


def _chance(first: Cell, second: Cell) -> Chance:
    """How the lead compares with the spread over seeds: Welch's test at 5%, with the fewer degrees of freedom."""
    if first.n < 2 or second.n < 2:
        return "one seed"
    error = math.sqrt(first.spread**2 / first.n + second.spread**2 / second.n)
    if error < EXACT:
        return "no spread"
    limit = T[min(first.n, second.n, len(T) + 1) - 2]
    return "beyond" if abs(first.value - second.value) > limit * error else "within"


def _with_spread(cell: Cell) -> str:
    if math.isnan(cell.spread):
        return number(cell.value)
    return f"{number(cell.value)} ± {cell.spread:.3f} over {cell.n} seeds"
