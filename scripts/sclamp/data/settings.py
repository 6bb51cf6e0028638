"""Settings of the data scripts, from --settings."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from sclamp.config.base import Name, Section
from sclamp.config.gene_priors import AnyGenePrior
from sclamp.config.gene_selections import GeneSelection
from sclamp.config.messages import problems_of
from sclamp.core.errors import UserError

T = TypeVar("T", bound=BaseModel)


class UsedWith(Section):
    """The parts of a configuration that are used with a dataset, by name."""

    gene_selections: dict[Name, GeneSelection] = Field(default_factory=dict)
    gene_priors: dict[Name, AnyGenePrior] = Field(default_factory=dict)


def parsed(kind: type[T], values: dict[str, Any], prefix: str = "--settings") -> T:
    """Check a mapping against its section; all problems at once, each with the key's path."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(*problems_of(error, kind, prefix=prefix)) from error
