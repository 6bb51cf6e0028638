"""What a check found: one line each, with a level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from sclamp.core.errors import UserError

Level = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True)
class Finding:
    """check: what was looked at. level: errors stop the run, warnings are kept for the report. message: a sentence."""

    check: str
    level: Level
    message: str

    def to_dict(self) -> dict[str, str]:
        """For checks.json."""
        return asdict(self)


def errors(findings: list[Finding]) -> list[str]:
    """The messages of all errors."""
    return [finding.message for finding in findings if finding.level == "error"]


def stop_at_errors(findings: list[Finding]) -> None:
    """Raise all errors as one `UserError`, if there are any."""
    if problems := errors(findings):
        raise UserError(*problems)


def table(findings: list[Finding]) -> str:
    """A readable table: errors first, then warnings, then the rest; one line each, in the order of the checks."""
    order: list[Level] = ["error", "warning", "skipped", "ok"]
    rows = [finding for level in order for finding in findings if finding.level == level]
    width = max((len(finding.check) for finding in rows), default=0)
    return "".join(f"{finding.level.upper():8}{finding.check:{width + 2}}{finding.message}\n" for finding in rows)
