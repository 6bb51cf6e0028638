"""docs/configuration.md: every key with its default and meaning, made from the settings themselves."""

from __future__ import annotations

import json
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sclamp.config.base import ModelSettings, TrainingSettings
from sclamp.config.datasets import CovariateColumns, Dataset, Normalization, QualityControl, Split
from sclamp.config.evaluate import Evaluate, Export, Figures, Resources
from sclamp.config.gene_priors import (
    ExpressionPrior,
    FilePrior,
    GaussianPrior,
    Matching,
    OneHotPrior,
    ProteinPrior,
    ShuffledPrior,
    TextPrior,
)
from sclamp.config.gene_selections import GeneSelection
from sclamp.config.gene_statistics import GeneStatisticsSettings
from sclamp.config.registry import MODES, settings_class
from sclamp.config.root import Sections

INTRODUCTION = """# Configuration
<!-- Made by `make schema` from scripts/sclamp/config; edit that. -->

`config.yaml` is the one file to edit; your own file, given by `--configfile`, stands alone. Unknown keys are errors,
and all problems of a file are reported at once, before any job runs. Editors that understand JSON schemas complete
and check keys with `workflow/schemas/config.schema.yaml`. On the command line,
`--config 'models={beta_vae: {latent_dim: 20}}'` changes one value.
"""

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("Top level", Sections),
    ("datasets.NAME", Dataset),
    ("datasets.NAME.covariates", CovariateColumns),
    ("datasets.NAME.quality", QualityControl),
    ("datasets.NAME.normalization", Normalization),
    ("datasets.NAME.split", Split),
    ("gene_selections.NAME", GeneSelection),
    ("gene_statistics", GeneStatisticsSettings),
    *(
        (f"gene_priors.NAME with source: {typing.get_args(source.model_fields['source'].annotation)[0]}", source)
        for source in (TextPrior, ProteinPrior, FilePrior, ExpressionPrior, OneHotPrior, ShuffledPrior, GaussianPrior)
    ),
    ("gene_priors.NAME.matching", Matching),
    ("evaluate", Evaluate),
    ("figures", Figures),
    ("export", Export),
    ("resources", Resources),
]


def reference_text() -> str:
    """The page."""
    parts = [INTRODUCTION]
    parts += [_section(title, section, set()) for title, section in SECTIONS]
    parts.append(_section("models.NAME, every mode", ModelSettings, {"mode"}))
    parts.append(_section("models.NAME, every mode that trains by gradients", TrainingSettings, _keys(ModelSettings)))
    described: dict[type[BaseModel], list[str]] = {}
    for mode in MODES:
        described.setdefault(settings_class(mode), []).append(mode)
    for known, modes in described.items():
        base = TrainingSettings if issubclass(known, TrainingSettings) else ModelSettings
        names = ", ".join(f"`{mode}`" for mode in modes)
        parts.append(_section(f"models.NAME with mode: {names}", known, _same(known, base)))
    return "\n".join(parts)


def _keys(section: type[BaseModel]) -> set[str]:
    return set(section.model_fields)


def _same(section: type[BaseModel], base: type[BaseModel]) -> set[str]:
    """Keys that a section has from its base, with the same default."""
    own, theirs = section.model_fields, base.model_fields
    return {key for key in theirs if key == "mode" or own[key].default == theirs[key].default}


def _section(title: str, section: type[BaseModel], without: set[str]) -> str:
    lines = [
        f"## {title}",
        "",
        (section.__doc__ or "").strip(),
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for key, field in section.model_fields.items():
        if key in without:
            continue
        cells = (f"`{key}`", _type(field.annotation), _default(field), field.description or "")
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is dict:
        return f"mapping of {_type(arguments[1])}"
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_type(argument) for argument in arguments))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {type(None): "null", str: "text", int: "integer", float: "number", bool: "true or false"}.get(
        annotation, "any"
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    if isinstance(value, BaseModel):
        return "see there"
    if isinstance(value, dict):
        value = {k: v.model_dump(exclude_defaults=True) if isinstance(v, BaseModel) else v for k, v in value.items()}
    return f"`{json.dumps(value)}`"
