"""After each kind of change, a dry run names exactly the jobs that hang on it."""

import contextlib
import copy
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]

OF_A_DATASET = {"plot_scores", "plot_ranking", "plot_prior_benefit"}
SUMMARY = {"summarize_scores", "plot_cost", "write_report"} | OF_A_DATASET
OF_A_RUN = {
    "export_embeddings",
    "find_neighbors",
    "score_integration",
    "score_reconstruction",
    "layout_umap",
    "plot_umap",
    "plot_reconstruction",
}
READ_PRIORS = {"direct", "direct.prior=shuffled"}


@contextlib.contextmanager
def edited(path, change):
    """Change a file for a while."""
    before = path.read_text(encoding="utf-8")
    path.write_text(change(before), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def rules(jobs):
    return {rule for rule, _ in jobs}


def models(jobs, rule):
    return {part.split("=", 1)[1] for r, w in jobs if r == rule for part in w.split(", ") if part.startswith("model=")}


def test_after_a_finished_run_nothing_is_to_be_done(finished, config):
    assert finished.jobs(config=config) == set()
    assert "Nothing to be done" in finished.snakemake("--dry-run", config=config)


def test_a_models_setting_reruns_that_model_and_what_hangs_on_it(finished, config):
    config["models"]["beta_vae"]["dropout"] = 0.2
    jobs = finished.jobs(config=config)
    assert rules(jobs) == {"train_model", "plot_training", "assemble_embedded"} | OF_A_RUN | SUMMARY
    for rule in {"train_model", "plot_training"} | OF_A_RUN:
        assert models(jobs, rule) == {"beta_vae"}, rule


def test_a_setting_of_the_gene_maps_reruns_the_gene_maps_only(finished, config):
    config["figures"] = {"marker_genes": 5}
    jobs = finished.jobs(config=config)
    assert rules(jobs) == {"plot_genes", "write_report"}


def test_resolution_redraws_figures_and_computes_nothing(finished, config):
    config["figures"] = {"dpi": 80}
    assert (
        rules(finished.jobs(config=config))
        == {
            "plot_umap",
            "plot_training",
            "plot_genes",
            "plot_markers",
            "plot_modules",
            "plot_reconstruction",
            "plot_cost",
            "write_report",
        }
        | OF_A_DATASET
    )


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("resources", {"threads": 2, "memory_scale": 2.0, "tensorboard": True}),
        ("gene_selections", {"hvg": {"n_genes": 80}, "unused": {"n_genes": 60}}),
        (
            "gene_priors",
            {
                "vectors": {"source": "file", "path": "vectors.csv", "id_column": "gene"},
                "unused": {"source": "gaussian", "of": "vectors"},
            },
        ),
    ],
)
def test_an_unrelated_key_reruns_nothing(finished, config, section, value):
    assert finished.jobs(config=config | {section: value}) == set()


def test_code_of_a_family_reruns_that_family_only(finished, config):
    with edited(finished.folder / "scripts/sclamp/models/scilama.py", lambda text: text + "\n_CHANGED = 1\n"):
        jobs = finished.jobs(config=config)
    assert models(jobs, "train_model") == {"beta_vae"} | READ_PRIORS
    assert models(jobs, "train_left_out") == READ_PRIORS
    assert "fit_model" not in rules(jobs)
    assert "pca" not in models(jobs, "export_embeddings")
    assert {"prepare_cells", "select_genes", "match_gene_prior"} & rules(jobs) == set()


def test_code_of_a_metric_reruns_scores_only(finished, config):
    with edited(finished.folder / "scripts/sclamp/evaluate/lisi.py", lambda text: text + "\n_CHANGED = 1\n"):
        jobs = finished.jobs(config=config)
    assert rules(jobs) == {"score_integration", "plot_umap"} | SUMMARY


def test_registering_a_mode_reruns_nothing(finished, config):
    line = '    "pca2": _of("linear:PCASettings", "pca:PCA", gradient=False),\n'
    change = lambda text: text.replace('    "pca": ', line + '    "pca": ', 1)  # noqa: E731
    with edited(finished.folder / "scripts/sclamp/config/registry.py", change):
        assert finished.jobs(config=config) == set()


def test_comments_and_docstrings_rerun_nothing(finished, config):
    folder = finished.folder / "scripts"
    files = [folder / "sclamp/models/scilama.py", folder / "train_model.py", folder / "sclamp/core/files.py"]
    with contextlib.ExitStack() as stack:
        for path in files:
            change = lambda text: text.replace('"""', '"""Also: ', 1) + "\n# a remark\n"  # noqa: E731
            stack.enter_context(edited(path, change))
        assert finished.jobs(config=config) == set()


def test_touched_files_rerun_nothing(finished, config):
    time.sleep(1.1)
    inputs = [finished.folder / name for name in ("one.h5ad", "vectors.csv", "mine.yaml", "Snakefile")]
    for path in [*inputs, *(finished.folder / "scripts").rglob("*.py"), *(finished.folder / "workflow").rglob("*.smk")]:
        path.touch()
    assert finished.jobs(config=config) == set()


def test_a_new_seed_runs_only_its_own_jobs(finished, config):
    jobs = finished.jobs(config=config | {"seeds": [1, 2]})
    assert {w for _, w in jobs if "seed=1" in w} == set()
    assert (
        rules(jobs) & {"check_dataset", "prepare_cells", "select_genes", "match_gene_prior", "build_gene_prior"}
        == set()
    )
    assert models(jobs, "train_model") == {"beta_vae"} | READ_PRIORS


def test_a_new_dataset_runs_only_its_own_jobs(finished, config):
    config["datasets"]["two"] = copy.deepcopy(config["datasets"]["one"]) | {"path": "two.h5ad"}
    jobs = finished.jobs(config=config)
    assert {rule for rule, w in jobs if "dataset=one" in w} <= OF_A_DATASET
    assert "build_gene_prior" not in rules(jobs)
    assert models(jobs, "train_model") == {"beta_vae"} | READ_PRIORS


def test_a_score_setting_trains_nothing(finished, config):
    config["evaluate"]["resolutions"] = [0.5, 1.5]
    assert rules(finished.jobs(config=config)) == {"score_integration", "plot_umap"} | SUMMARY


def test_a_further_prior_control_trains_only_itself(finished, config):
    config["models"]["direct"]["prior_controls"].append("onehot")
    jobs = finished.jobs(config=config)
    assert models(jobs, "train_model") == models(jobs, "train_left_out") == {"direct.prior=onehot"}
    assert models(jobs, "score_integration") == {"direct.prior=onehot"}


def test_a_new_check_prepares_nothing_anew(finished, config):
    config["models"]["pca_all"] = {"mode": "pca", "genes": "all", "latent_dim": 5}
    config["gene_selections"]["all"] = {"flavor": "all"}
    jobs = finished.jobs(config=config)
    assert "check_dataset" in rules(jobs)
    assert rules(jobs) & {"prepare_cells", "train_model"} == set()
    assert models(jobs, "fit_model") == models(jobs, "score_integration") == {"pca_all"}  # nor does it hide anything
