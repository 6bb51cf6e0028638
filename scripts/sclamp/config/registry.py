"""Which modes exist: mode -> settings class and model class, by name, so that nothing is imported before its use."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mode:
    """Where a mode's settings and model are, as "module:Class".

    gradient: trained step by step (may use a GPU), as opposed to solved in closed form.
    after: modes of the runs that come before in a chain of warm starts; each starts from the one before it.
    own_prior: source of the gene prior that the mode brings along, for modes that need none from the user.
    without_prior: mode that is left of this one when its gene priors are taken away; itself where they are optional.
    classifier: predicts labels; scored on them, not as an embedding of cells.
    """

    settings: str
    model: str
    gradient: bool = True
    after: tuple[str, ...] = ()
    own_prior: str | None = None
    without_prior: str | None = None
    classifier: bool = False

    @property
    def modules(self) -> tuple[str, str]:
        """The modules that the mode is made of."""
        return self.settings.partition(":")[0], self.model.partition(":")[0]


def _of(settings: str, model: str, **more: Any) -> Mode:
    return Mode(f"sclamp.config.{settings}", f"sclamp.models.{model}", **more)


MODES: dict[str, Mode] = {
    "pca": _of("linear:PCASettings", "pca:PCA", gradient=False),
    "ppca": _of("ppca:PPCASettings", "ppca:PPCA"),
    "contrastive": _of("contrastive:ContrastiveSettings", "contrastive:Contrastive"),
    "harmony": _of("linear:HarmonySettings", "harmony:Harmony", gradient=False),
    "beta_vae": _of("scilama:BetaVAESettings", "scilama:BetaVAE"),
    "direct": _of("scilama:JointSettings", "scilama:Direct", without_prior="beta_vae"),
    "stepwise_genes": _of("scilama:JointSettings", "scilama:StepwiseGenes", after=("beta_vae",)),
    "stepwise": _of(
        "scilama:JointSettings", "scilama:Stepwise", after=("beta_vae", "stepwise_genes"), without_prior="beta_vae"
    ),
    "logistic_regression": _of(
        "classifiers:LogisticRegressionSettings", "logistic_regression:LogisticRegression", classifier=True
    ),
    "socam": _of("classifiers:SOCAMSettings", "socam:SOCAM", classifier=True),
    "self_informed": _of("scilama:JointSettings", "scilama:SelfInformed", own_prior="expression"),
    "scvi": _of("scvi:SCVISettings", "scvi:SCVI", without_prior="scvi"),
    "gene_nb": _of("gene_nb:GeneNBSettings", "gene_nb:GeneNB", without_prior="gene_nb"),
}


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def settings_class(mode: str) -> Any:
    """The pydantic class of a mode's settings; imports only that family's settings."""
    return _load(MODES[mode].settings)


def model_class(mode: str) -> Any:
    """The model class of a mode; imports only that family's model file."""
    return _load(MODES[mode].model)
