"""What a Methods paragraph says of the models and their training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sclamp.report.plan import Model, Plan
from sclamp.report.references import Citations
from sclamp.report.words import joined

SCILAMA = ("direct", "stepwise", "self_informed")
LIKELIHOODS = {"nb": "negative binomial", "zinb": "zero-inflated negative binomial", "poisson": "Poisson"}


def models(plan: Plan, cite: Citations, versions: dict[str, str]) -> str:
    """One paragraph: each kind of model with the work that it follows, then training and seeds."""
    asked = [plan.models[name] for name in [*plan.shown, *plan.classifiers]]
    by_mode: dict[str, list[Model]] = defaultdict(list)
    for model in asked:
        by_mode["scilama" if model.mode in SCILAMA else model.mode].append(model)
    sentences = [SENTENCES[mode](own, cite, versions) for mode, own in by_mode.items() if mode in SENTENCES]
    if others := [model for mode, own in by_mode.items() if mode not in SENTENCES for model in own]:
        sentences.append(f"Further models: {joined(f'{m.name} (mode {m.mode})' for m in others)}.")
    if trained := [m for m in asked if "max_epochs" in m.settings]:
        sentences.append(_training(trained))
    seeds = f"seeds {joined(str(s) for s in plan.seeds)}" if len(plan.seeds) > 1 else f"seed {plan.seeds[0]}"
    return " ".join([*sentences, f"Every model was fitted with {seeds}."])


def _pca(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return f"Principal components ({_said(own, 'latent_dim')}) of the training cells serve as the baseline."


def _ppca(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return f"Probabilistic principal components {cite('ppca')} ({_names(own)}) start at the maximum of the likelihood."


def _harmony(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    version = f", harmonypy {versions['harmonypy']}" if "harmonypy" in versions else ""
    count = _said(own, "latent_dim")
    return f"Harmony {cite('harmony')} corrected {count} principal components of all cells{version}."


def _beta_vae(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return f"A variational autoencoder of cells {cite('vae')} ({_names(own)}) has no gene side."


def _scilama(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    how = f"follow sciLaMA {cite('scilama')}, re-implemented in PyTorch {cite('pytorch')}"
    return f"Paired autoencoders of cells and genes {how}: {joined(_paired(model) for model in own)}."


def _paired(model: Model) -> str:
    how = {
        "direct": "trained jointly",
        "stepwise": "trained in three phases",
        "self_informed": "without outside knowledge",
    }
    fused = f" fused by {model.settings.get('fusion')}" if len(model.gene_priors) > 1 else ""
    return f"{model.name} ({how[model.mode]}{_with_priors(model)}{fused})"


def _scvi(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    work = f"follow scVI {cite('scvi')}, re-implemented in PyTorch"
    return f"Variational autoencoders of raw counts {work}: {_likelihoods(own)}."


def _gene_nb(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return (
        "Variational autoencoders of raw counts whose decoder weights are read off gene priors, plus a residual per "
        f"gene with a learned variance: {_likelihoods(own)}."
    )


def _likelihoods(own: list[Model]) -> str:
    """The models with the distribution of counts and the gene priors of each."""
    kinds = {m.name: LIKELIHOODS.get(str(m.settings.get("likelihood")), "unknown") for m in own}
    return joined(f"{m.name} ({kinds[m.name]} likelihood{_with_priors(m)})" for m in own)


def _contrastive(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return (
        f"A multi-layer perceptron was trained to tell augmented views of one cell from other cells, by NT-Xent "
        f"{cite('nt_xent')}: {_names(own)}."
    )


def _logistic(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return f"Multinomial logistic regressions with a Laplace prior predict the cell types: {_inputs(own)}."


def _socam(own: list[Model], cite: Citations, versions: dict[str, str]) -> str:
    return (
        f"Logistic regressions over the Cell Ontology {cite('cell_ontology')}, in which a type's probability is that "
        f"of all types below it, follow SOCAM {cite('socam')}: {_inputs(own)}."
    )


def _inputs(own: list[Model]) -> str:
    """The classifiers with what each of them reads."""
    read = {m.name: m.settings.get("embedding_of") for m in own}
    return joined(f"{name} ({f'on the embedding by {of}' if of else 'on expression'})" for name, of in read.items())


SENTENCES: dict[str, Callable[[list[Model], Citations, dict[str, str]], str]] = {
    "pca": _pca,
    "ppca": _ppca,
    "harmony": _harmony,
    "beta_vae": _beta_vae,
    "scilama": _scilama,
    "scvi": _scvi,
    "gene_nb": _gene_nb,
    "contrastive": _contrastive,
    "logistic_regression": _logistic,
    "socam": _socam,
}


def _training(models: list[Model]) -> str:
    parts = []
    for key, words in (("hidden_dims", "hidden layers of {} units"), ("latent_dim", "{} latent dimensions")):
        if known := [m for m in models if key in m.settings]:
            parts.append(words.format(_said(known, key)))
    networks = f"Networks had {joined(parts)}. " if parts else ""
    words = (
        f"{networks}Training by AdamW (learning rate {_said(models, 'learning_rate')}, batches of "
        f"{_said(models, 'batch_size')} cells) took at most {_said(models, 'max_epochs')} epochs and stopped after "
        f"{_said(models, 'patience')} validations without improvement; the epoch with the lowest validation loss was "
        "kept."
    )
    if annealed := [model for model in models if "beta_end" in model.settings]:
        whose = "" if len(annealed) == len(models) else f" of {_names(annealed)}"
        words += f" The weight of the Kullback-Leibler terms{whose} rose from {_said(annealed, 'beta_start')}"
        words += f" to {_said(annealed, 'beta_end')} after {_said(annealed, 'epochs_before_beta_warmup')} epochs."
    return words


def _with_priors(model: Model) -> str:
    return f", gene priors {joined(model.gene_priors)}" if model.gene_priors else ""


def _said(models: list[Model], key: str) -> str:
    """A setting's value, or the values with the models that have them."""
    values: dict[str, list[str]] = defaultdict(list)
    for model in models:
        values[_value(model.settings.get(key))].append(model.name)
    if len(values) == 1:
        return next(iter(values))
    return " or ".join(f"{value} ({', '.join(names)})" for value, names in values.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(models: list[Model]) -> str:
    return joined(model.name for model in models)
