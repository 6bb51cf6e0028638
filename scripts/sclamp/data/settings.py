"""What else of a configuration the check of a dataset looks at."""

from __future__ import annotations

from pydantic import Field

from sclamp.config.base import Name, Section
from sclamp.config.gene_priors import AnyGenePrior
from sclamp.config.gene_selections import GeneSelection


class UsedWith(Section):
    """The parts of a configuration that are used with a dataset, by name."""

    gene_selections: dict[Name, GeneSelection] = Field(default_factory=dict)
    gene_priors: dict[Name, AnyGenePrior] = Field(default_factory=dict)
