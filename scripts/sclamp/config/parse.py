"""Settings as a script gets them: checked, all problems at once."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sclamp.config.messages import problems_of
from sclamp.core.errors import UserError

S = TypeVar("S", bound=BaseModel)


def parsed(section: type[S], values: dict[str, Any], prefix: str = "--settings") -> S:
    """Check a mapping against its section; keys that are left out have their defaults.

    Errors: a `UserError` with every problem, each with the key's path behind `prefix`.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise UserError(*problems_of(error, section, prefix)) from error
