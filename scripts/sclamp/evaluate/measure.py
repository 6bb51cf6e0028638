"""From a function to a row of the score table: a value, or the reason why there is none."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

from sclamp.evaluate.statistic import Statistic
from sclamp.types import Score


class NotApplicable(Exception):
    """The data have no such score; the message says why, in words for the score table."""


class Unscorable(Exception):
    """The embedding cannot be scored; the message says what is wrong with it."""


def measure(metric: str, implementation: str, compute: Callable[[], float]) -> Score:
    """Call `compute` and make a score of what happens: no failure of one metric reaches the others.

    A `NotApplicable` gives status "not_applicable"; any other error, or a value that is not finite, "failed". Errors
    that are not foreseen are shown with their traceback on stderr.
    """
    try:
        value, status, reason = float(compute()), "ok", ""
        if not math.isfinite(value):
            value, status, reason = math.nan, "failed", f"the value is {value}"
    except NotApplicable as finding:
        value, status, reason = math.nan, "not_applicable", str(finding)
    except Unscorable as error:
        value, status, reason = math.nan, "failed", str(error)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        value, status, reason = math.nan, "failed", f"{type(error).__name__}: {error}"
    return Score(metric, implementation, value, status, reason)  # type: ignore[arg-type]


class Measured(NamedTuple):
    """A score, and where it has a value, the statistic behind it."""

    score: Score
    statistic: Statistic | None


def measure_statistic(metric: str, implementation: str, compute: Callable[[], Statistic]) -> Measured:
    """As `measure`, of something that makes a statistic; its value counts each cell once."""
    found: list[Statistic] = []

    def value() -> float:
        found.append(compute())
        return found[0].value

    score = measure(metric, implementation, value)
    return Measured(score, found[0] if score.status == "ok" else None)
