"""The whole configuration, and the errors of all of it at once."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from sclamp.config.base import ModelSettings, Name, Section
from sclamp.config.datasets import Dataset
from sclamp.config.evaluate import Evaluate, Export, Figures, Resources
from sclamp.config.gene_priors import AnyGenePrior
from sclamp.config.gene_selections import GeneSelection
from sclamp.config.gene_statistics import GeneStatisticsSettings
from sclamp.config.messages import problems_of
from sclamp.config.models import explode, parse_models
from sclamp.config.references import reference_problems
from sclamp.core.errors import UserError

MOST_VALUES = 200_000
"""Values of a configuration, repetitions by anchors counted."""


class Sections(Section):
    """Everything in config.yaml but the models, whose settings depend on their mode."""

    title: str = "scLAMP"
    """Heading of the report."""
    output: str = "results"
    """Folder of all results."""
    datasets: dict[Name, Dataset] = Field(min_length=1)
    """Name -> data set."""
    gene_selections: dict[Name, GeneSelection] = Field(default_factory=lambda: {"hvg": GeneSelection()})
    """Name -> choice of genes."""
    gene_statistics: GeneStatisticsSettings = GeneStatisticsSettings()
    """Mean, variance and quantiles of every gene, in a table."""
    gene_priors: dict[Name, AnyGenePrior] = Field(default_factory=dict)
    """Name -> source of gene embeddings."""
    model_defaults: dict[str, Any] = Field(default_factory=dict)
    """Settings of all models whose mode knows them; a model's own settings win."""
    models: dict[Name, dict[str, Any]] = Field(min_length=1)
    """Name -> mode and settings; lists under `grid` make one model per combination."""
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    """Every model is trained once per seed."""
    markers: dict[Name, str] = Field(default_factory=dict)
    """Data set -> table (cell_type, gene) of marker genes to show; others are found in the data."""
    evaluate: Evaluate = Evaluate()
    """Scores and controls."""
    figures: Figures = Figures()
    """How figures look."""
    export: Export = Export()
    """Layout of exported embeddings."""
    resources: Resources = Resources()
    """What jobs ask for."""


class Config(Section):
    """The checked configuration; models are settings of their mode."""

    sections: Sections
    models: dict[str, Any]

    def model(self, name: str) -> ModelSettings:
        """Settings of one model."""
        return self.models[name]


def load(raw: Any) -> Config:
    """Check a configuration as read from YAML; a `UserError` lists every problem in it."""
    if not isinstance(raw, dict):
        raise UserError(f"config: a mapping of sections is expected, found {type(raw).__name__}.")
    if problem := _endless(raw):
        raise UserError(problem)
    problems: list[str] = []
    sections: Sections | None = None
    try:
        sections = Sections.model_validate(raw)
    except ValidationError as error:
        problems += problems_of(error, Sections)
    else:
        asked = sections.evaluate
        if asked.neighbors < asked.graph_neighbors - 1:
            others = f"graph_neighbors {asked.graph_neighbors}, the cell itself counted"
            problems.append(f"evaluate.neighbors: {asked.neighbors} are too few for the graph ({others}).")
    entries = raw.get("models")
    exploded = explode(entries, problems) if isinstance(entries, dict) else {}
    defaults = raw.get("model_defaults")
    models = parse_models(exploded, defaults if isinstance(defaults, dict) else {}, problems)
    problems += reference_problems(raw, models)
    if problems or sections is None:
        raise UserError(*problems)
    return Config(sections=sections, models=models)


def _endless(raw: dict[str, Any]) -> str:
    """What is wrong with a configuration whose anchors repeat each other, to billions of values or in a circle."""
    seen, waiting = 0, [raw]
    while waiting:
        value: Any = waiting.pop()
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
        seen += 1
        if seen > MOST_VALUES:
            return f"config: holds more than {MOST_VALUES:,} values, as its anchors (&name, *name) are repeated."
    return ""
