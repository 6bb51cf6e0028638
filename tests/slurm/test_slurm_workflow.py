"""A whole run on SLURM: what lands where, what it asks for, and what a failing job takes down."""

import re

import pytest
from on_cluster import OnCluster, few_models, gpus, megabytes, span

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one worker, one cluster

OF_RUN = (
    "scores/integration.parquet",
    "scores/reconstruction.parquet",
    "figures/umap.png",
    "figures/reconstruction.png",
)
SIZES = (2, 3, 4, 5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cluster):
    """Four trainings, and two models with their scores and figures, one of which cannot be fitted."""
    project = OnCluster(tmp_path_factory.mktemp("whole"), cluster)
    trained = {f"vae_{n}": {"mode": "beta_vae", "latent_dim": n, "max_epochs": 30} for n in SIZES}
    greedy = {"mode": "pca", "latent_dim": 79}  # more components than training cells
    config = few_models(pca={"mode": "pca", "latent_dim": 10}, greedy=greedy, **trained)
    config["datasets"]["one"]["split"] = {"val_share": 0.3, "test_share": 0.5}  # 48 training cells
    targets = [project.file(model, name) for model in ("pca", "greedy") for name in OF_RUN]
    targets += [project.file(model, "model.pt") for model in trained]
    targets = [str(path.relative_to(project.folder)) for path in targets]
    project.run(*targets, "--retries=1", config=config, code=1)
    return project


def test_trainings_get_one_gpu_each_on_the_gpu_partition_and_others_none(finished):
    trainings = finished.jobs("train_model")
    assert len(trainings) == 4
    assert {(job["Partition"], gpus(job), job["NumNodes"]) for job in trainings} == {("gpu", 1, "1")}
    others = [job for job in finished.jobs() if job not in trainings]
    assert len(others) > 5
    assert {(job["Partition"], gpus(job)) for job in others} == {("cpu", 0)}


def test_each_training_sees_the_gpu_that_slurm_gave_it(finished):
    seen = {}
    for job in finished.jobs("train_model"):
        model = re.search(r"vae_\d", job["Comment"])[0]
        log = finished.file(model, "logs/train.log").read_text(encoding="utf-8")
        numbers = re.findall(r"GPU (\d) is there, but torch", log)
        assert len(numbers) == 1
        seen[job["JobId"]] = (job["NodeList"], int(numbers[0]), *span(job))
    for node, number, start, end in seen.values():
        assert number < finished.cluster.gpus[int(node[-1]) - 1]
        beside = [s for s in seen.values() if s[:2] == (node, number) and s[2] < end and start < s[3]]
        assert len(beside) == 1  # itself


def test_never_more_trainings_at_once_than_gpus(finished):
    spans = [span(job) for job in finished.jobs("train_model")]
    busiest = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert 2 <= busiest <= sum(finished.cluster.gpus)


def test_many_small_jobs_reach_the_scheduler_as_few(finished):
    (run,) = finished.jobs("run_")  # everything that follows the export of the one model that could be fitted
    assert "find_neighbors" in run["Comment"]
    assert run["JobState"] == "COMPLETED"
    logs = {path.stem for path in finished.file("pca", "logs").glob("*.log")}
    assert logs == {
        "train", "export", "neighbors", "umap", "integration", "reconstruction", "plot_umap", "plot_reconstruction"
    }  # fmt: skip
    together = [job for job in finished.jobs() if "pca" in job["Comment"] or job is run]
    assert len(together) == 3  # fit, export, and the six others as one


def test_memory_and_time_come_from_the_size_of_the_data_and_the_attempt(finished):
    counts = (finished.folder / "results/datasets/one/genes/hvg.h5ad").stat().st_size / 1e6
    (training, *_) = finished.jobs("train_model")
    assert megabytes(training) == int(2500 + 20 * counts)
    assert training["TimeLimit"] == "01:01:00"  # no minute more for so few cells
    first, second = [job for job in finished.jobs("fit_model") if "greedy" in job["Comment"]]
    assert megabytes(first) == int(2500 + 10 * counts)
    assert megabytes(second) == int((2500 + 10 * counts) * 1.5)
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:21:00", "00:41:00")


def test_a_group_asks_for_what_its_later_jobs_need(finished):
    raw = (finished.folder / "one.h5ad").stat().st_size / 1e6
    (group,) = [job for job in finished.jobs("data") if "select_genes" in job["Comment"]]
    assert megabytes(group) == int(1500 + 8 * raw)  # of prepare_cells
    assert group["TimeLimit"] == "00:22:00"  # and 11 minutes of select_genes, whose input this group makes


def test_a_failing_job_is_shown_with_its_log_and_stops_nothing_else(finished):
    log = finished.file("greedy", "logs/train.log").read_text(encoding="utf-8")
    assert "latent_dim" in log
    last = log.strip().splitlines()[-1]
    assert finished.said().count(last) >= 2  # after each attempt
    attempts = [job for job in finished.jobs("fit_model") if "greedy" in job["Comment"]]
    assert [job["JobState"] for job in attempts] == ["FAILED", "FAILED"]
    assert not finished.file("greedy", "model.pt").exists()
    for name in OF_RUN:
        assert finished.file("pca", name).is_file()
    for n in SIZES:
        assert finished.file(f"vae_{n}", "model.pt").is_file()
