"""One toy cluster for all tests of this folder."""

import os

import pytest
from cluster import Cluster, missing_programs
from on_cluster import few_models, long_training, prepared_from
from project import copy_project

REASON = "" if os.getuid() == 0 else "the toy cluster runs as root"
if missing_programs():
    REASON = f"not installed: {', '.join(missing_programs())}"


def pytest_collection_modifyitems(items):
    for item in items:
        if REASON and item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A project with one long training, made without a cluster in one go."""
    project = copy_project(tmp_path_factory.mktemp("undisturbed"))
    config = few_models(long=long_training(1500))
    project.snakemake("results/datasets/one/models/long/seed_1/cell_embedding.parquet", config=config)
    return project.folder


@pytest.fixture
def prepared(undisturbed, tmp_path):
    """The same project, with its data ready and nothing trained."""
    return prepared_from(undisturbed, tmp_path)
