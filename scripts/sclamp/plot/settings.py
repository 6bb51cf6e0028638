"""Settings of figures, from --settings."""

from __future__ import annotations

from pydantic import ValidationError

from sclamp.config.evaluate import Figures
from sclamp.config.messages import problems_of
from sclamp.core.cli import read_settings
from sclamp.core.errors import UserError


def figure_settings(text: str) -> Figures:
    """Read and check the section `figures`; the keys that are left out have their defaults."""
    try:
        return Figures.model_validate(read_settings(text))
    except ValidationError as error:
        raise UserError(*problems_of(error, Figures, prefix="--settings")) from error
