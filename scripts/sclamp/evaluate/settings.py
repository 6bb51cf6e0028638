"""Settings of the evaluation scripts, from --settings."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from sclamp.config.base import Section
from sclamp.config.evaluate import Evaluate, Figures
from sclamp.config.messages import problems_of
from sclamp.core.cli import read_settings
from sclamp.core.errors import UserError

S = TypeVar("S", bound=Section)


def evaluate_settings(text: str) -> Evaluate:
    """Read and check the section `evaluate`; keys that are left out have their defaults."""
    return _checked(text, Evaluate)


def figure_settings(text: str) -> Figures:
    """Read and check the section `figures`; keys that are left out have their defaults."""
    return _checked(text, Figures)


def _checked(text: str, section: type[S]) -> S:
    try:
        return section.model_validate(read_settings(text))
    except ValidationError as error:
        raise UserError(*problems_of(error, section, prefix="--settings")) from error
