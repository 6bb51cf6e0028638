"""Reruns of papers: every file plans without a network, keeps to the schema and says what it downloads."""

import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from sclamp.config.gene_priors import FilePrior, TextPrior
from sclamp.workflow import plan

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted((ROOT / "workflow/papers").glob("*.yaml"))
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.workflow
each = pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.stem)


def read(paper):
    return yaml.safe_load(paper.read_text(encoding="utf-8"))


def addresses(config):
    """(address, sha256) of everything that a rerun downloads; sha256 is None where the file gives none."""
    made = plan(config)
    for dataset in made.datasets.values():
        yield from ((path, dataset.sha256) for path in dataset.paths)
    for prior in made.gene_priors.values():
        if isinstance(prior, TextPrior | FilePrior):
            yield (prior.table if isinstance(prior, TextPrior) else prior.path), prior.sha256


def test_there_are_reruns():
    assert {"sclamp_pancreas", "scib_pancreas"} <= {paper.stem for paper in PAPERS}


@each
def test_a_rerun_keeps_to_the_schema(paper):
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(read(paper), schema)


@each
def test_a_rerun_plans_without_a_network(paper, tmp_path):
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--configfile", paper, "--dry-run"]
    command += ["--quiet", "rules", "--cores", "2", "--directory", tmp_path, "--profile", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)}
    runs = len(read(paper)["seeds"]) * len(plan(read(paper)).models)
    assert count["train_model"] + count.get("fit_model", 0) >= runs


@each
def test_what_a_rerun_downloads_is_encrypted_and_verified(paper):
    found = list(addresses(read(paper)))
    assert found
    for address, digest in found:
        assert address.startswith("https://"), f"{address} is on somebody's machine"
        assert digest is not None


@each
def test_a_rerun_tells_who_where_and_what_differs(paper):
    text = paper.read_text(encoding="utf-8")
    assert re.search(r"\b20\d\d\b", text.splitlines()[0]) or re.search(r"\b20\d\d\b", text.splitlines()[1])
    assert f"--configfile workflow/papers/{paper.name}" in text and "Differs:" in text
    assert f"workflow/papers/{paper.name}" in PAGE
    assert read(paper)["output"] == f"results/{paper.stem}"  # reruns do not write into each other's results


def test_the_page_names_each_file_that_is_downloaded():
    for paper in PAPERS:
        for _, digest in addresses(read(paper)):
            assert digest in PAGE


def test_sclamp_pancreas_is_trained_as_published():
    made = plan(read(ROOT / "workflow/papers/sclamp_pancreas.yaml"))
    published = {
        "hidden_dims": (900, 400), "latent_dim": 40, "dropout": 0.1, "batch_size": 128, "max_epochs": 500,
        "learning_rate": 0.001, "learning_rate_decay": 0.99, "patience": 25, "beta_end": 1.0, "beta_start": 0.0,
        "epochs_before_beta_warmup": 25, "beta_warmup_rate": 0.05, "input_dropout": 0.0, "linear_skip": False,
        "covariate_effects": False, "encoder_covariates": True, "var_eps": 1e-4,
    }  # fmt: skip
    joint = {"gamma": 0.05, "joint_scale": "reference", "gene_residual": None, "gene_dropout": 0.1, "fusion": "average"}
    names = ("beta_vae", "stepwise_genept", "stepwise_summaries", "stepwise_fused", "direct_genept", "self_informed")
    for name in names:
        settings = made.model(name).settings.model_dump()
        expected = published if name == "beta_vae" else published | joint
        assert {key: settings[key] for key in expected} == expected, name
    assert made.datasets["pancreas"].normalization.clip == 10
