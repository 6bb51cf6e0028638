"""What the rules ask at parse time: which runs there are, their inputs, settings and resources.

Light on purpose: the Snakefile imports this on every start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sclamp.config.base import ModelSettings, Section
from sclamp.config.gene_priors import ExpressionPrior, GaussianPrior, GenePrior, Matching, OneHotPrior, ShuffledPrior
from sclamp.config.linear import PCASettings
from sclamp.config.registry import MODES, settings_class
from sclamp.config.root import Config, load


class PriorControl(NamedTuple):
    """A model that is `of` another one, with a control (shuffled, gaussian, onehot, none) in place of its priors."""

    model: str
    control: str
    of: str


@dataclass(frozen=True)
class PlannedModel:
    """A model as the workflow runs it.

    warm_start: model whose run this one starts from. intermediate: a phase of a chain, exported but not scored.
    """

    settings: ModelSettings
    gene_priors: tuple[str, ...] = ()
    warm_start: str | None = None
    intermediate: bool = False

    @property
    def mode(self) -> str:
        """The registered mode."""
        return self.settings.mode

    @property
    def gradient(self) -> bool:
        """True for models that train step by step."""
        return MODES[self.mode].gradient

    @property
    def classifier(self) -> bool:
        """True for models that predict labels."""
        return MODES[self.mode].classifier

    @property
    def embedding_of(self) -> str | None:
        """The model whose embedding this one reads instead of expression."""
        return getattr(self.settings, "embedding_of", None)


@dataclass
class Plan:
    """Everything that follows from a configuration."""

    config: Config
    models: dict[str, PlannedModel] = field(default_factory=dict)
    gene_priors: dict[str, GenePrior] = field(default_factory=dict)
    prior_controls: list[PriorControl] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.config.sections, name)

    def model(self, name: str) -> PlannedModel:
        """One planned model."""
        return self.models[name]

    def names(self, gradient: bool) -> list[str]:
        """Names of the models that are trained by gradients, or of those that are not."""
        return [name for name, model in self.models.items() if model.gradient == gradient]

    @property
    def scored(self) -> list[str]:
        """Names of models that are scored as embeddings of cells."""
        return [name for name in self.embedders if not self.models[name].intermediate]

    @property
    def embedders(self) -> list[str]:
        """Names of models whose embedding is exported."""
        return [name for name, model in self.models.items() if not model.classifier]

    @property
    def classifiers(self) -> list[str]:
        """Names of models that are scored by the labels that they predict."""
        return [name for name, model in self.models.items() if model.classifier]

    @property
    def left_out(self) -> list[str]:
        """Models that are also trained without some genes, which they then predict from their gene priors alone.

        Chained modes are not: the run they start from has seen all genes. Nor are modes that bring a prior along: it
        is made of the very expression that is to be predicted.
        """
        if not self.config.sections.evaluate.left_out_genes:
            return []
        alone = {name for name, mode in MODES.items() if not mode.after and mode.own_prior is None}
        return [name for name in self.scored if self.models[name].gene_priors and self.models[name].mode in alone]

    @property
    def label_terms(self) -> list[str]:
        """JSON of what models were told about the terms of labels, so that all are judged by the same terms."""
        told = [getattr(model.settings, "label_terms", {}) for model in self.models.values()]
        terms = {label: term for each in told for label, term in each.items()}
        return [json.dumps(terms, sort_keys=True)] if terms else []

    @property
    def controls(self) -> list[str]:
        """Names under which the control embeddings run."""
        return [f"control_{name}" for name in self.config.sections.evaluate.controls if name != "pca"]

    @property
    def pca(self) -> str | None:
        """Name of the model that serves as the PCA control and as the reference of scores that need one."""
        candidates = [name for name, model in self.models.items() if model.mode == "pca"]
        return "pca" if "pca" in candidates else next(iter(candidates), None)

    @property
    def selection_of_controls(self) -> str:
        """Gene selection whose file tells the controls about the cells."""
        return next(iter(self.models.values())).settings.genes

    def used_selections(self) -> list[str]:
        """Gene selections that some model reads."""
        return sorted({model.settings.genes for model in self.models.values()})

    def used_priors(self, of_dataset: bool | None = None) -> list[str]:
        """Gene priors that some model reads, with those they are made of."""
        used = {name for model in self.models.values() for name in model.gene_priors}
        used |= {of for name in used if (of := self.parent(name))}
        return sorted(n for n in used if of_dataset is None or self.prior_of_dataset(n) == of_dataset)

    def parent(self, prior: str) -> str | None:
        """The gene prior that a control prior is made of."""
        return getattr(self.gene_priors[prior], "of", None)

    def prior_of_dataset(self, prior: str) -> bool:
        """True when a gene prior is made from a dataset's own genes, cells or matched priors."""
        return self.gene_priors[prior].of_dataset


def plan(raw: Any) -> Plan:
    """Check a configuration and lay out its runs."""
    config = load(raw)
    planned = Plan(config, gene_priors=dict(config.sections.gene_priors))
    asked = {name: _plain(settings) for name, settings in config.models.items()}
    for name, settings in asked.items():
        _add(planned, name, settings, asked)
    for name, settings in config.models.items():
        for control in getattr(settings, "prior_controls", ()):
            _add_prior_control(planned, name, asked[name], control, asked)
    made_of_pca = [name for name in config.sections.evaluate.controls if name.startswith(("pca", "shuffled"))]
    if made_of_pca and planned.pca is None:
        name = "pca" if "pca" not in planned.models else "pca_baseline"
        planned.models[name] = PlannedModel(PCASettings(genes=planned.selection_of_controls))
    return planned


def _plain(settings: ModelSettings) -> ModelSettings:
    """Settings of the model itself: a further control of its prior must not train it anew."""
    return settings.model_copy(update={"prior_controls": ()}) if hasattr(settings, "prior_controls") else settings


def _add_prior_control(
    planned: Plan, name: str, settings: ModelSettings, control: str, asked: dict[str, ModelSettings]
) -> None:
    without = MODES[settings.mode].without_prior
    if control == "none":
        if without is None:
            return
        changed = _as_mode(settings, without)
        if hasattr(changed, "gene_priors"):  # the same mode, in which priors are optional
            changed = changed.model_copy(update={"gene_priors": ()})
    else:
        priors = tuple(_control_prior(planned, prior, control) for prior in getattr(settings, "gene_priors", ()))
        changed = settings.model_copy(update={"gene_priors": priors})
    known = next((n for n, m in planned.models.items() if m.settings == changed and not m.intermediate), None)
    if known is None:
        known = f"{name}.prior={control}"
        _add(planned, known, changed, asked)
    planned.prior_controls.append(PriorControl(known, control, name))


def _control_prior(planned: Plan, of: str, control: str) -> str:
    """Name of the control of a gene prior: one that the user defined, or a new one."""
    for name, prior in planned.gene_priors.items():
        if getattr(prior, "source", None) == control and getattr(prior, "of", None) == of:
            return name
    matching = Matching(min_coverage=planned.gene_priors[of].matching.min_coverage)
    make: dict[str, type[GenePrior]] = {"shuffled": ShuffledPrior, "gaussian": GaussianPrior, "onehot": OneHotPrior}
    name = f"{of}.{control}"
    planned.gene_priors[name] = make[control].model_validate({"source": control, "of": of, "matching": matching})
    return name


def _add(planned: Plan, name: str, settings: ModelSettings, asked: dict[str, ModelSettings]) -> None:
    mode = MODES[settings.mode]
    before: str | None = None
    for number, phase in enumerate(mode.after, start=1):
        phase_settings = _as_mode(settings, phase)
        settings_so_far = {n: m.settings for n, m in planned.models.items()} | asked
        known = next((n for n, s in settings_so_far.items() if s == phase_settings), None)
        phase_name = known or f"{name}_phase{number}"
        if known is None:
            priors = _priors(planned, phase_settings)
            planned.models[phase_name] = PlannedModel(phase_settings, priors, before, intermediate=True)
        before = phase_name
    planned.models[name] = PlannedModel(settings, _priors(planned, settings), before)


def _as_mode(settings: ModelSettings, mode: str) -> ModelSettings:
    """The same settings for another mode, as far as that mode knows them."""
    target = settings_class(mode)
    shared = {key: value for key, value in settings.model_dump().items() if key in target.model_fields}
    return target.model_validate({**shared, "mode": mode})


def _priors(planned: Plan, settings: ModelSettings) -> tuple[str, ...]:
    own = MODES[settings.mode].own_prior
    if own is None:
        return tuple(getattr(settings, "gene_priors", ()))
    planned.gene_priors.setdefault(own, ExpressionPrior(source="expression"))
    return (own,)


def as_json(settings: Section | dict[str, Any], only: Iterable[str] | None = None, without: Iterable[str] = ()) -> str:
    """Settings as one line of JSON with sorted keys; `only` and `without` cut it to what a rule depends on."""
    values = settings if isinstance(settings, dict) else settings.model_dump(mode="json")
    keys = set(values if only is None else only) - set(without)
    return json.dumps({key: values[key] for key in sorted(keys)}, sort_keys=True)


def report_plan(planned: Plan) -> str:
    """What was asked for, as the report needs it: JSON, in the order of the configuration.

    Without resources and without what no model uses, so that a change of those changes no report.
    """
    sections = planned.config.sections
    asked = {
        "title": sections.title,
        "results": sections.output,
        "datasets": {n: d.model_dump(mode="json") for n, d in sections.datasets.items()},
        "gene_selections": {n: sections.gene_selections[n].model_dump(mode="json") for n in planned.used_selections()},
        "gene_priors": {n: planned.gene_priors[n].model_dump(mode="json") for n in planned.used_priors()},
        "models": {
            name: {
                "mode": model.mode,
                "settings": model.settings.model_dump(mode="json"),
                "gene_priors": list(model.gene_priors),
                "warm_start": model.warm_start,
                "intermediate": model.intermediate,
                "classifier": model.classifier,
            }
            for name, model in planned.models.items()
        },
        "controls": planned.controls,
        "prior_controls": [control._asdict() for control in planned.prior_controls],
        "left_out": planned.left_out,
        "pca": planned.pca,
        "seeds": list(sections.seeds),
        "evaluate": sections.evaluate.model_dump(mode="json"),
        "figures": sections.figures.model_dump(mode="json"),
    }
    return json.dumps(asked)


def options(flag: str, *values: str) -> list[str]:
    """A command-line option with its values; nothing when there are none.

    A single value that begins with a dash is joined to the option, which would else be missing one.
    """
    if len(values) == 1 and values[0].startswith("-"):
        return [f"{flag}={values[0]}"]
    return [flag, *values] if values else []


def one_of(names: Iterable[str]) -> str:
    """Regular expression that matches exactly these names (nothing when there are none)."""
    return "|".join(re.escape(name) for name in names) or "(?!)"
