"""Names in one section that point into another: gene selections, gene priors, controls, obs columns' data sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sclamp.config.base import ModelSettings
from sclamp.config.registry import MODES
from sclamp.core.errors import unknown


def reference_problems(raw: dict[str, Any], models: dict[str, ModelSettings]) -> list[str]:
    """Names that do not exist, circles among gene priors, repeated seeds, reserved names."""
    problems: list[str] = []
    selections = _names(raw.get("gene_selections"), default=("hvg",))
    priors = _names(raw.get("gene_priors"))
    for name, model in models.items():
        if model.genes not in selections:
            problems.append(f"models.{name}.genes: " + unknown("gene selection", model.genes, selections))
        for prior in getattr(model, "gene_priors", ()):
            if prior not in priors:
                problems.append(f"models.{name}.gene_priors: " + unknown("gene prior", prior, priors))
        if getattr(model, "prior_controls", ()) and not model.gene_priors:  # type: ignore[attr-defined]
            problems.append(f"models.{name}.prior_controls: the model names no gene_priors that could be replaced.")
        problems += _read_embedding(name, model, models)
        if name.startswith("control_"):
            problems.append(f"models.{name}: names that start with 'control_' are reserved for controls.")
    problems += _labels(raw.get("datasets"), models)
    problems += _control_priors(raw.get("gene_priors"), priors)
    for dataset in _names(raw.get("markers")):
        if dataset not in _names(raw.get("datasets")):
            problems.append(f"markers.{dataset}: " + unknown("dataset", dataset, _names(raw.get("datasets"))))
    seeds = raw.get("seeds")
    if isinstance(seeds, list) and len(set(map(str, seeds))) < len(seeds):
        problems.append(f"seeds: {seeds} holds a seed more than once.")
    return problems


def _read_embedding(name: str, model: ModelSettings, models: dict[str, ModelSettings]) -> list[str]:
    """The model whose embedding another one reads must exist and embed cells."""
    of = getattr(model, "embedding_of", None)
    if of is None:
        return []
    embedders = [other for other, settings in models.items() if not MODES[settings.mode].classifier]
    if of in models and of not in embedders:
        return [f"models.{name}.embedding_of: '{of}' predicts labels; expected a model that embeds cells."]
    return [] if of in embedders else [f"models.{name}.embedding_of: " + unknown("model", of, embedders)]


def _labels(datasets: Any, models: dict[str, ModelSettings]) -> list[str]:
    """Models that predict labels need them in every dataset."""
    classifiers = [name for name, settings in models.items() if MODES[settings.mode].classifier]
    if not classifiers or not isinstance(datasets, dict):
        return []
    without = [name for name, entry in datasets.items() if isinstance(entry, dict) and not entry.get("label")]
    return [f"datasets.{name}.label: is missing, and to be learned by {', '.join(classifiers)}." for name in without]


def _names(section: Any, default: Iterable[str] = ()) -> tuple[str, ...]:
    return tuple(map(str, section)) if isinstance(section, dict) else tuple(default)


def _control_priors(section: Any, priors: tuple[str, ...]) -> list[str]:
    if not isinstance(section, dict):
        return []
    problems = []
    parents = {name: entry["of"] for name, entry in section.items() if isinstance(entry, dict) and entry.get("of")}
    for name, parent in parents.items():
        if parent not in priors:
            problems.append(f"gene_priors.{name}.of: " + unknown("gene prior", str(parent), priors))
            continue
        seen, at = {name}, parent
        while at in parents and at not in seen:
            seen.add(at)
            at = parents[at]
        if at in seen:
            problems.append(
                f"gene_priors.{name}.of: leads back to '{at}'; a control needs a prior that is none itself."
            )
    return problems
