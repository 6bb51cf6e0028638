"""What was asked for: the plan that the workflow hands to the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sclamp.core.errors import UserError
from sclamp.plot.scoreboard import PRIOR_CONTROL


class Run(NamedTuple):
    """One model (or control) on one data set with one seed."""

    dataset: str
    model: str
    seed: int
    folder: Path


class PriorControl(NamedTuple):
    """A model that is `of` another one, with a control in place of its gene priors."""

    model: str
    control: str
    of: str


@dataclass(frozen=True)
class Model:
    """A model of the plan. intermediate: a phase of a chain, exported but not scored. classifier: predicts labels."""

    name: str
    mode: str
    settings: dict[str, Any] = field(default_factory=dict)
    gene_priors: tuple[str, ...] = ()
    warm_start: str | None = None
    intermediate: bool = False
    classifier: bool = False

    @property
    def selection(self) -> str | None:
        """Gene selection that the model reads."""
        return self.settings.get("genes")


@dataclass(frozen=True)
class Plan:
    """Everything that was asked for. results: the output folder. raw: the plan as it came."""

    title: str
    results: Path
    datasets: dict[str, dict[str, Any]]
    models: dict[str, Model]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    pca: str | None
    gene_selections: dict[str, dict[str, Any]]
    gene_priors: dict[str, dict[str, Any]]
    raw: dict[str, Any]
    prior_controls: tuple[PriorControl, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def scored(self) -> list[str]:
        """Models that are scored as embeddings of cells, in the order of the configuration."""
        return [name for name, model in self.models.items() if not (model.intermediate or model.classifier)]

    @property
    def classifiers(self) -> list[str]:
        """Models that are scored by the labels that they predict."""
        return [name for name, model in self.models.items() if model.classifier]

    @property
    def shown(self) -> list[str]:
        """Scored models whose figures are shown: all but those that only run as a control of another's gene priors."""
        return [name for name in self.scored if PRIOR_CONTROL not in name]

    @property
    def evaluate(self) -> dict[str, Any]:
        """The section `evaluate` of the configuration; empty where the plan does not hold it."""
        return self.raw.get("evaluate") or {}

    def folder(self, dataset: str) -> Path:
        """Where a data set's results lie."""
        return self.results / "datasets" / dataset

    def run(self, dataset: str, model: str, seed: int) -> Run:
        """One run and its folder."""
        return Run(dataset, model, seed, self.folder(dataset) / "models" / model / f"seed_{seed}")

    def runs(self, *models: str, dataset: str | None = None) -> Iterator[Run]:
        """Runs of these models, of one data set or of all."""
        for name in [dataset] if dataset else self.datasets:
            for model in models:
                for seed in self.seeds:
                    yield self.run(name, model, seed)

    def chain(self, model: str) -> list[str]:
        """The runs that a model is made of: those it starts from, then itself."""
        before = self.models[model].warm_start if model in self.models else None
        return [*(self.chain(before) if before in self.models else []), model]


def read_plan(text: str) -> Plan:
    """Read a plan from JSON text or the path of a JSON file; lists every key that is missing or of a wrong kind."""
    if not text.lstrip().startswith("{"):
        if not Path(text).is_file():
            raise UserError(f"--plan: '{text}' is neither JSON nor an existing file.")
        text = Path(text).read_text(encoding="utf-8")
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--plan: not valid JSON ({error}).") from error
    kinds: dict[str, type | tuple[type, ...]] = {
        "results": str,
        "datasets": (dict, list),
        "models": dict,
        "seeds": list,
    }
    problems = [f"--plan: '{key}' is missing." for key in kinds if key not in raw]
    problems += [
        f"--plan: '{key}' has the wrong kind ({type(raw[key]).__name__})."
        for key, kind in kinds.items()
        if key in raw and not isinstance(raw[key], kind)
    ]
    if not problems and not (raw["seeds"] and raw["models"]):
        problems.append("--plan: at least one model and one seed are expected.")
    if problems:
        raise UserError(*problems)
    return Plan(
        title=raw.get("title") or "scLAMP",
        results=Path(raw["results"]),
        datasets=raw["datasets"] if isinstance(raw["datasets"], dict) else {name: {} for name in raw["datasets"]},
        models={name: _model(name, value) for name, value in raw["models"].items()},
        controls=tuple(raw.get("controls", ())),
        seeds=tuple(int(seed) for seed in raw["seeds"]),
        pca=raw.get("pca"),
        gene_selections=raw.get("gene_selections", {}),
        gene_priors=raw.get("gene_priors", {}),
        raw=raw,
        prior_controls=tuple(PriorControl(c["model"], c["control"], c["of"]) for c in raw.get("prior_controls", ())),
        left_out=tuple(raw.get("left_out", ())),
    )


def _model(name: str, value: dict[str, Any]) -> Model:
    settings = value.get("settings", {})
    return Model(
        name=name,
        mode=value.get("mode") or settings.get("mode", "unknown"),
        settings=settings,
        gene_priors=tuple(value.get("gene_priors") or settings.get("gene_priors", ())),
        warm_start=value.get("warm_start"),
        intermediate=bool(value.get("intermediate")),
        classifier=bool(value.get("classifier")),
    )
