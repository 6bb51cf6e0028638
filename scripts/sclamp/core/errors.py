"""Errors that a user can act on: all problems at once, each with what was found and what is allowed."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """One or more problems with the user's input; shown without a traceback.

    problems: one sentence each, naming the key, column, gene or file, what was found and what is expected.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"- {p}" for p in problems) if len(problems) > 1 else "".join(problems))


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Put `what` (a file, say) before each problem of the block that does not name it."""
    try:
        yield
    except UserError as error:
        raise UserError(*(p if what in p else f"{what}: {p}" for p in error.problems)) from error


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that looks most like `name`, or None when nothing is close."""
    options = {str(v).lower(): str(v) for v in valid}
    close = difflib.get_close_matches(str(name).lower(), options, n=1, cutoff=0.5)
    return options[close[0]] if close else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of a sentence about a wrong name: a question when a valid name is near, else a full stop."""
    close = nearest(name, valid)
    return f"; did you mean '{close}'?" if close and close != name else "."


def unknown(what: str, name: str, valid: Iterable[str], limit: int = 12) -> str:
    """Word a misspelt name: what it is, what was found, the nearest valid name, what else is allowed."""
    names = [str(v) for v in valid]
    shown = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    return f"{what} '{name}' does not exist{did_you_mean(name, names)} Known: {shown or 'none'}."
