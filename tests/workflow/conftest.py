"""A small project in a temporary folder, run once with the real workflow, then dry-run after each kind of change."""

import pytest
from project import copy_project, small_config


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project whose workflow has run to its end."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    project.snakemake(config=small_config())
    return project


@pytest.fixture
def fresh(tmp_path):
    """A project that has not run."""
    return copy_project(tmp_path)


@pytest.fixture
def config():
    """The configuration that the finished project ran with, to be changed."""
    return small_config()
