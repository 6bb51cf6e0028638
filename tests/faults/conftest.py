"""A small project that has run to its end, undisturbed: what trials are compared with."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from jobs import Job, digests, jobs_of
from project import Project, copy_project, small_config

FOLDER = "project ä 'q' \"d\" 中文 🧬"
SHORT_RUN = "results/datasets/one/models/beta_vae/seed_1"
SHORT = (
    "results/datasets/one/checks.json", f"{SHORT_RUN}/figures/training.png", f"{SHORT_RUN}/cell_embedding.parquet",
)  # fmt: skip
"""Targets of the few jobs that the usual test suite tries."""


class Reference(NamedTuple):
    """A finished project. targets: what was asked for. jobs: all that ran. digests: of all files under results."""

    folder: Path
    targets: tuple[str, ...]
    jobs: list[Job]
    digests: dict[str, str]

    def copy(self, folder: Path, results: bool = True) -> Project:
        """A copy with or without its results."""
        unwanted = shutil.ignore_patterns(*(() if results else ("results", ".snakemake")))
        shutil.copytree(self.folder, folder, ignore=unwanted, symlinks=True)
        return Project(folder)


def all_rules_config() -> dict[str, Any]:
    """The small configuration and a model of every other kind."""
    config = small_config()
    config["models"]["types"] = {"mode": "logistic_regression", "embedding_of": "pca", "max_epochs": 20}
    return config


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all trials are asked for."""
    return bool(request.config.getoption("--all-trials"))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, whole: bool) -> Reference:
    """A project with the results of all its rules (of a few in the usual test suite), made once for all workers.

    Its folder has a name that needs quotes, so all that is tried with it is tried in such a folder, too.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(shared / "reference.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = shared / "reference.pickle"
        if not made.exists():
            made.write_bytes(pickle.dumps(_make(shared / FOLDER, whole)))
        return pickle.loads(made.read_bytes())


def _make(folder: Path, whole: bool) -> Reference:
    folder.mkdir()
    project = copy_project(folder)
    config = all_rules_config()
    targets = ("all", "held_out") if whole else SHORT
    project.snakemake(*targets, config=config)
    jobs = jobs_of(project, *targets)
    if whole:  # a rule that only several datasets need
        config["datasets"]["two"] = config["datasets"]["one"] | {"path": "two.h5ad"}
        (folder / "both.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        both = ("--configfile", "both.yaml", "results/summary/gene_statistics.parquet")
        project.snakemake(*both)
        jobs += [job for job in jobs_of(project, *both) if job.rule == "merge_gene_statistics"]
    return Reference(folder, targets, jobs, digests(folder / "results"))


@pytest.fixture
def project(reference: Reference, tmp_path: Path) -> Project:
    """A copy of the reference with its results."""
    return reference.copy(tmp_path / "project")


@pytest.fixture
def fresh_project(reference: Reference, tmp_path: Path) -> Callable[[str], Project]:
    """Copies of the reference without results, under the given names."""
    return lambda name: reference.copy(tmp_path / name, results=False)
