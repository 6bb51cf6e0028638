"""The configuration: what is accepted, and every message that a user can get."""

import re
from pathlib import Path

import pytest
import yaml

from sclamp.config.registry import MODES, settings_class
from sclamp.config.root import load
from sclamp.core.errors import UserError
from sclamp.workflow import plan

ROOT = Path(__file__).resolve().parents[2]


def minimal(**more):
    raw = {
        "datasets": {"d": {"path": "cells.h5ad", "batch": "donor"}},
        "gene_priors": {"text": {"source": "text", "table": "genes.tsv"}},
        "models": {"vae": {"mode": "beta_vae"}},
    }
    return raw | more


def problems(raw):
    with pytest.raises(UserError) as caught:
        load(raw)
    return caught.value.problems


def test_shipped_config_is_valid_and_names_existing_files():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    sections = load(raw).sections
    for dataset in sections.datasets.values():
        assert all((ROOT / path).is_file() for path in dataset.paths)


def test_every_top_level_key_is_explained_in_the_shipped_config():
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    from sclamp.config.root import Sections

    assert [key for key in Sections.model_fields if not re.search(rf"^{key}:", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1], "config: a mapping of sections is expected, found list."),
        (minimal(sedds=[1]), "sedds: unknown key; did you mean 'seeds'?"),
        (minimal(datasets={"d": {"path": "x", "lable": "y"}}), "datasets.d.lable: unknown key; did you mean 'label'?"),
        (minimal(datasets={"d": {}}), "datasets.d.path: is missing."),
        (
            minimal(models={"m": {"mode": "self_informed", "prior_controls": ["shuffled"]}}),
            "models.m.prior_controls: the model names no gene_priors that could be replaced.",
        ),
        (
            minimal(evaluate={"neighbors": 10}),
            "evaluate.neighbors: 10 are too few for the graph (graph_neighbors 15, the cell itself counted).",
        ),
        (minimal(datasets={}), "datasets: dictionary should have at least 1 item"),
        (
            minimal(datasets={"d": {"path": "x", "counts": "layer"}}),
            "datasets.d.counts: 'layer' does not fit. Where the raw counts are",
        ),
        (minimal(datasets={"a/b": {"path": "x"}}), "datasets.a/b: string should match pattern"),
        (minimal(datasets={"d": {"path": "https://h/x.h5ad"}}), "datasets.d: 'https://h/x.h5ad' is an address"),
        (
            minimal(datasets={"d": {"path": "x", "split": {"val_share": 0.6, "test_share": 0.4}}}),
            "datasets.d.split: val_share + test_share = 1 leaves no training cells.",
        ),
        (
            minimal(datasets={"d": {"path": "x", "quality": {"min_genes": -3}}}),
            "datasets.d.quality.min_genes: input should be greater than or equal to 0 (found -3).",
        ),
        (
            minimal(gene_selections={"hvg": {"flavor": "seurat_v4"}}),
            "gene_selections.hvg.flavor: 'seurat_v4' is not allowed; did you mean 'seurat_v3'?",
        ),
        (minimal(gene_selections={"hvg": {"flavor": "list"}}), "gene_selections.hvg: flavor 'list' takes"),
        (
            minimal(gene_priors={"t": {"source": "txt"}}),
            "gene_priors.t.source: 'txt' is not allowed; did you mean 'text'?",
        ),
        (minimal(gene_priors={"t": {}}), "gene_priors.t.source: is missing."),
        (
            minimal(gene_priors={"t": {"source": "text", "tabel": "x"}}),
            "gene_priors.t.tabel: unknown key; did you mean 'table'?",
        ),
        (
            minimal(gene_priors={"t": {"source": "text", "table": "x"}, "s": {"source": "shuffled", "of": "tt"}}),
            "gene_priors.s.of: gene prior 'tt' does not exist; did you mean 't'?",
        ),
        (
            minimal(gene_priors={"a": {"source": "shuffled", "of": "b"}, "b": {"source": "gaussian", "of": "a"}}),
            "gene_priors.a.of: leads back to 'a'",
        ),
        (minimal(models={"m": {}}), "models.m.mode: is missing. Allowed: pca"),
        (minimal(models={"m": {"mode": "pcaa"}}), "models.m.mode: 'pcaa' is not allowed; did you mean 'pca'?"),
        (
            minimal(models={"m": {"mode": "pca", "latent_dimm": 3}}),
            "models.m.latent_dimm: unknown key; did you mean 'latent_dim'?",
        ),
        (
            minimal(models={"m": {"mode": "pca", "genes": "hgv"}}),
            "models.m.genes: gene selection 'hgv' does not exist; did you mean 'hvg'?",
        ),
        (
            minimal(models={"m": {"mode": "direct", "gene_priors": ["txt"]}}),
            "models.m.gene_priors: gene prior 'txt' does not exist; did you mean 'text'?",
        ),
        (
            minimal(models={"m": {"mode": "logistic_regression", "embedding_of": "vea"}, "vae": {"mode": "beta_vae"}}),
            "models.m.embedding_of: model 'vea' does not exist; did you mean 'vae'?",
        ),
        (
            minimal(models={m: {"mode": "logistic_regression", "embedding_of": "a"} for m in ("a", "b")}),
            "models.b.embedding_of: 'a' predicts labels; expected a model that embeds cells.",
        ),
        (minimal(models={"m": {"mode": "socam"}}), "datasets.d.label: is missing, and to be learned by m."),
        (
            minimal(models={"m": {"mode": "scvi", "kl_warmup_epochs": 2, "kl_warmup_steps": 2}}),
            "models.m: kl_warmup_epochs (2) and kl_warmup_steps (2) are both given",
        ),
        (minimal(models={"m": {"mode": "pca", "grid": {"latent_dim": 5}}}), "models.m.grid: a mapping of settings"),
        (minimal(models={"control_x": {"mode": "pca"}}), "models.control_x: names that start with 'control_'"),
        (
            minimal(model_defaults={"learning_rat": 1}),
            "model_defaults.learning_rat: no model of this config has such a setting; did you mean 'learning_rate'?",
        ),
        (minimal(seeds=[1, 1]), "seeds: [1, 1] holds a seed more than once."),
        (minimal(seeds=[]), "seeds: tuple should have at least 1 item"),
        (
            minimal(evaluate={"controls": ["pac"]}),
            "evaluate.controls[0]: 'pac' is not allowed; did you mean 'pca'?",
        ),
        (minimal(markers={"e": "m.tsv"}), "markers.e: dataset 'e' does not exist"),
    ],
)
def test_message(raw, message):
    assert any(problem.startswith(message) for problem in problems(raw)), problems(raw)


def test_all_problems_come_at_once():
    found = problems(
        minimal(
            sedds=[1],
            datasets={"d": {"pth": "x"}},
            models={"a": {"mode": "pcaa"}, "b": {"mode": "beta_vae", "hidden_dims": 3}},
            gene_priors={"t": {"source": "txt"}},
        )
    )
    starts = ["sedds", "datasets.d.path", "datasets.d.pth", "models.a.mode", "models.b.hidden_dims", "gene_priors.t"]
    assert all(any(p.startswith(s) for p in found) for s in starts), found


def test_defaults_are_given_to_modes_that_know_them_and_own_values_win():
    models = load(
        minimal(
            model_defaults={"latent_dim": 7, "max_epochs": 3},
            models={"a": {"mode": "beta_vae"}, "b": {"mode": "beta_vae", "latent_dim": 9}, "p": {"mode": "pca"}},
        )
    ).models
    assert (models["a"].latent_dim, models["a"].max_epochs) == (7, 3)
    assert models["b"].latent_dim == 9
    assert models["p"].latent_dim == 7


def test_grid_makes_one_named_model_per_combination():
    raw = minimal(models={"m": {"mode": "beta_vae", "grid": {"latent_dim": [5, 10], "hidden_dims": [[8, 4], [6]]}}})
    models = load(raw).models
    assert list(models) == [
        "m.latent_dim=5,hidden_dims=8x4",
        "m.latent_dim=5,hidden_dims=6",
        "m.latent_dim=10,hidden_dims=8x4",
        "m.latent_dim=10,hidden_dims=6",
    ]
    assert models["m.latent_dim=10,hidden_dims=8x4"].hidden_dims == (8, 4)


def test_stepwise_starts_from_an_equal_beta_vae_and_trains_it_once():
    planned = plan(
        minimal(
            models={
                "vae": {"mode": "beta_vae", "latent_dim": 8},
                "steps": {"mode": "stepwise", "latent_dim": 8, "gene_priors": ["text"]},
                "other": {"mode": "stepwise", "latent_dim": 9, "gene_priors": ["text"]},
            }
        )
    )
    assert planned.model("steps").warm_start == "steps_phase2"
    assert planned.model("steps_phase2").warm_start == "vae"
    assert planned.model("steps_phase2").mode == "stepwise_genes"
    assert planned.model("steps_phase2").intermediate
    assert planned.model("other_phase2").warm_start == "other_phase1"
    assert planned.model("other_phase1").mode == "beta_vae"
    assert set(planned.scored) == {"vae", "steps", "other", "pca"}


def test_pca_control_is_added_where_no_model_is_a_pca():
    assert plan(minimal()).pca == "pca"
    assert "pca" not in plan(minimal(evaluate={"controls": ["random"]})).models


def with_prior_controls(controls, **models):
    joint = {"mode": "direct", "gene_priors": ["text"], "prior_controls": controls}
    return plan(minimal(models={"joint": joint} | models))


def test_prior_controls_train_the_same_model_with_other_priors():
    found = with_prior_controls(["shuffled", "gaussian", "onehot", "none"])
    assert [tuple(control) for control in found.prior_controls] == [
        ("joint.prior=shuffled", "shuffled", "joint"),
        ("joint.prior=gaussian", "gaussian", "joint"),
        ("joint.prior=onehot", "onehot", "joint"),
        ("joint.prior=none", "none", "joint"),
    ]
    assert found.models["joint.prior=onehot"].gene_priors == ("text.onehot",)
    assert found.gene_priors["text.onehot"].of == "text"
    assert found.models["joint.prior=none"].mode == "beta_vae"
    plain = with_prior_controls([]).models["joint"].settings
    assert found.models["joint"].settings == plain
    changed = plain.model_copy(update={"gene_priors": ("text.shuffled",)})
    assert found.models["joint.prior=shuffled"].settings == changed


def test_prior_controls_that_exist_are_not_trained_twice():
    found = with_prior_controls(["none"], vae={"mode": "beta_vae"})
    assert [tuple(control) for control in found.prior_controls] == [("vae", "none", "joint")]
    assert set(found.models) == {"joint", "vae", "pca"}


def test_models_that_predict_left_out_genes():
    models = {
        "joint": {"mode": "direct", "gene_priors": ["text"], "prior_controls": ["shuffled", "none"]},
        "chain": {"mode": "stepwise", "gene_priors": ["text"]},
        "own": {"mode": "self_informed"},
        "vae": {"mode": "beta_vae"},
    }
    assert plan(minimal(models=models)).left_out == []
    asked = plan(minimal(models=models, evaluate={"left_out_genes": 0.1}))
    assert asked.left_out == ["joint", "joint.prior=shuffled"]


def test_self_informed_brings_its_own_prior():
    planned = plan(minimal(models={"s": {"mode": "self_informed"}}))
    assert planned.model("s").gene_priors == ("expression",)
    assert planned.used_priors(of_dataset=True) == ["expression"]


@pytest.mark.parametrize("mode", MODES)
def test_settings_survive_json(mode):
    known = settings_class(mode)
    settings = known.model_validate({"mode": mode})
    assert known.model_validate_json(settings.model_dump_json()) == settings


def test_text_of_the_command_line_becomes_numbers_and_flags():
    raw = minimal(models={"vae": {"mode": "beta_vae", "latent_dim": "12", "batch_norm": "true", "hidden_dims": ["8"]}})
    model = load(raw).models["vae"]
    assert (model.latent_dim, model.batch_norm, model.hidden_dims) == (12, True, (8,))
