"""Settings of one gene prior, from --settings."""

from __future__ import annotations

from typing import Any

from sclamp.config.gene_priors import (
    AnyGenePrior,
    ExpressionPrior,
    FilePrior,
    GaussianPrior,
    GenePrior,
    OneHotPrior,
    ProteinPrior,
    ShuffledPrior,
    TextPrior,
)
from sclamp.config.parse import parsed
from sclamp.core.errors import UserError, unknown

_KINDS: dict[str, type[GenePrior]] = {
    "text": TextPrior,
    "protein": ProteinPrior,
    "file": FilePrior,
    "expression": ExpressionPrior,
    "onehot": OneHotPrior,
    "shuffled": ShuffledPrior,
    "gaussian": GaussianPrior,
}


def read_prior_settings(values: dict[str, Any]) -> AnyGenePrior:
    """Check the settings of one gene prior; all problems at once."""
    kind = _KINDS.get(str(values.get("source")))
    if kind is None:
        raise UserError("--settings: " + unknown("source", str(values.get("source", "")), _KINDS))
    return parsed(kind, values)  # type: ignore[return-value]
