"""What a run leaves behind, what a failing run leaves behind, and what Snakemake says about a bad configuration."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import anndata
import pandas as pd
import pytest
import yaml

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.workflow
finished_group = pytest.mark.xdist_group("finished")


@finished_group
def test_results_open_without_our_code(finished):
    results = finished.folder / "results"
    run = results / "datasets/one/models/direct/seed_1"
    cells = pd.read_parquet(run / "cell_embedding.parquet")
    genes = pd.read_parquet(run / "gene_embedding.parquet")
    embedded = anndata.read_h5ad(results / "datasets/one/embedded.h5ad")
    assert list(cells.columns) == ["cell_id", "embedding"]
    assert list(genes.columns) == ["gene_id", "embedding"]
    assert list(cells.cell_id) == list(embedded.obs_names)
    assert embedded.obsm["X_direct"].shape == (embedded.n_obs, 4)
    assert embedded.varm["direct"].shape == (embedded.n_vars, 4)
    scores = pd.read_csv(results / "summary/scores.csv")
    assert {"pca", "beta_vae", "direct", "direct.prior=shuffled", "control_random", "control_shuffled"} <= set(
        scores.model
    )
    assert {"integration", "probe", "unseen_batch", "reconstruction", "imputation", "genes", "left_out_genes"} <= set(
        scores.task
    )
    assert set(scores.status) <= {"ok", "not_applicable"}, scores[scores.status == "failed"]


@finished_group
def test_every_table_tells_where_it_comes_from(finished):
    import pyarrow.parquet as pq

    missing = []
    for path in (finished.folder / "results").rglob("*.parquet"):
        metadata = pq.read_schema(path).metadata or {}
        if b"sclamp" not in metadata or "versions" not in json.loads(metadata[b"sclamp"]):
            missing.append(str(path.relative_to(finished.folder)))
    assert missing == []


@finished_group
def test_nothing_unfinished_is_left_behind(finished):
    left = [
        p.name for p in (finished.folder / "results").rglob("*") if p.name.endswith(".tmp") or p.name == "resume.pt"
    ]
    assert left == []


def test_a_failed_training_takes_nothing_else_down_and_the_report_names_it(fresh, config):
    config["models"]["broken"] = {"mode": "pca", "latent_dim": 5000}
    output = fresh.snakemake("--keep-going", config=config, check=False)
    assert "latent_dim" in output
    assert (fresh.folder / "results/datasets/one/models/beta_vae/seed_1/scores/integration.parquet").is_file()
    page = (fresh.folder / "results/report.html").read_text(encoding="utf-8")
    assert "broken" in page
    assert "5000" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedds": [1]}, "sedds: unknown key; did you mean 'seeds'?"),
        ({"models": {"m": {"mode": "beta_vea"}}}, "models.m.mode: 'beta_vea' is not allowed; did you mean 'beta_vae'?"),
        (
            {"datasets": {"one": {"path": "on.h5ad"}}},
            "datasets.one.path: 'on.h5ad' does not exist; did you mean 'one.h5ad'?",
        ),
    ],
)
@finished_group
def test_a_bad_configuration_stops_before_any_job(finished, config, change, message):
    output = finished.snakemake("--dry-run", config=config | change, check=False)
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert "rule " not in output.split("WorkflowError")[0].split("Building DAG")[-1]


@finished_group
def test_a_config_that_is_no_mapping(finished):
    (finished.folder / "list.yaml").write_text("- a\n- b\n", encoding="utf-8")
    output = finished.snakemake("--dry-run", "--configfile", "list.yaml", check=False)
    assert "keys at top level" in output
    assert "Traceback" not in output


@finished_group
@pytest.mark.parametrize("override", ["models={beta_vae: {dropout: 0.25}}", 'models={"beta_vae": {"dropout": 0.25}}'])
def test_config_overrides_reach_nested_settings(finished, config, override):
    jobs = finished.jobs("--config", override, config=config)
    assert {w for rule, w in jobs if rule == "train_model"} == {"dataset=one, model=beta_vae, seed=1"}


@finished_group
@pytest.mark.parametrize("on", [False, True])
def test_a_key_switches_event_files_on(finished, config, on):
    given = config | {"resources": config["resources"] | {"tensorboard": on}}
    shown = finished.snakemake("--dry-run", "--printshellcmds", "--forcerun", "train_model", config=given)
    assert ("SCLAMP_TENSORBOARD=1 SCLAMP_THREADS" in shown) == on


@finished_group
@pytest.mark.parametrize("line", [line for line in README.splitlines() if re.match(r"snakemake .*mine\.yaml", line)])
def test_commands_of_the_readme_work_as_they_stand(finished, config, line):
    shown = {**config, "models": {**config["models"], "gene_nb": {"mode": "gene_nb"}}}  # as in the README's file
    (finished.folder / "mine.yaml").write_text(yaml.safe_dump(shown), encoding="utf-8")
    words = shlex.split(line, comments=True)
    command = [sys.executable, "-m", *words, "--dry-run"]
    done = subprocess.run(command, cwd=finished.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@finished_group
def test_own_configfile_stands_alone(finished, config):
    output = finished.snakemake("--dry-run", "--forceall", config=config)
    assert "pancreas" not in output
    assert "harmony" not in output


@finished_group
def test_slurm_profile_asks_for_gpus_memory_and_time(finished, config):
    from snakemake.cli import args_to_api, parse_args  # noqa: F401  (the plugin must be importable)

    output = finished.snakemake("--dry-run", "--forceall", "--profile", "profiles/slurm", config=config)
    training = next(b for b in output.split("\nrule ") if b.startswith("train_model"))
    fitting = next(b for b in output.split("\nrule ") if b.startswith("fit_model"))
    assert "gpu=1" in training
    assert "slurm_partition=gpu" in training
    assert "mem_mb=" in training
    assert "runtime=" in training
    assert "gpu=" not in fitting.split("resources:")[1].split("\n")[0].replace("slurm_partition=cpu", "")


@finished_group
def test_labels_predicted_from_an_embedding_are_scored_and_drawn(finished, config):
    config["models"]["types"] = {"mode": "logistic_regression", "embedding_of": "pca", "max_epochs": 60}
    run = "results/datasets/one/models/types/seed_1"
    finished.snakemake(f"{run}/scores/classification.parquet", f"{run}/figures/classification.png", config=config)
    scores = pd.read_parquet(finished.folder / run / "scores/classification.parquet").set_index("metric")
    assert scores.value["accuracy"] > 0.5  # of three equally frequent types
    assert set(scores.cells) == {"held_out"}
    predicted = pd.read_parquet(finished.folder / run / "predictions.parquet")
    assert len(predicted) == 240
    assert set(predicted.label) <= {"type_0", "type_1", "type_2"}
    config["models"]["pca"]["latent_dim"] = 8  # another embedding: other labels
    again = {name for name, what in finished.jobs(config=config) if "types" in what}
    assert {"train_model", "predict_labels", "score_classification", "plot_classification"} <= again
    assert not again & {"export_embeddings", "score_integration", "plot_umap"}


@finished_group
def test_numbers_about_held_out_cells_and_genes_on_request(finished, config):
    test, genes = (
        "results/datasets/one/models/beta_vae/seed_1/test.parquet",
        "results/datasets/one/gene_statistics.parquet",
    )
    finished.snakemake(test, genes, config=config)
    numbers = pd.read_parquet(finished.folder / test).set_index("name")
    assert set(numbers.split) == {"test"}
    assert numbers.value["loss"] > 0
    of_genes = pd.read_parquet(finished.folder / genes)
    assert of_genes[of_genes.batch.isna()].gene_id.tolist() == [f"GENE{i}" for i in range(120)]
    assert set(of_genes.batch.dropna()) == {"d0", "d1"}
