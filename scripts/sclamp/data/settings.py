"""Settings of the data scripts, from --settings."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sclamp.config.messages import problems_of
from sclamp.core.errors import UserError

T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], values: dict[str, Any], prefix: str = "--settings") -> T:
    """Check a mapping against its section; all problems at once, each with the key's path."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(*problems_of(error, kind, prefix=prefix)) from error
