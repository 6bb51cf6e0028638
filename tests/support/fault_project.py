"""A small project, made once, that trials of faults are compared with: under names that need quotes everywhere."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from jobs import Job, digests, jobs_of, run
from project import Project, copy_project, small_config

FOLDER = "project ä 'q' \"d\" 中文 🧬"
OUT = "results ä 'q'"
RUN = f"{OUT}/datasets/one/models/beta_vae/seed_1"
SHORT = (f"{OUT}/datasets/one/checks.json", f"{RUN}/figures/training.png", f"{RUN}/cell_embedding.parquet")
"""Targets of the few jobs that the usual test suite tries."""
DATA = "-one ä 'q' 中文.h5ad"
ODD_NAMES = {"one.h5ad": DATA, "vectors.csv": "-vectors 🧬.csv", "markers.csv": "-markers.csv"}


SHOW_TIMES = ("figures/cost.png", "figures/cost.svg", "report.html")
"""Results that show how long jobs took, and so differ from run to run."""


def lasting(found: dict[str, str]) -> dict[str, str]:
    """Digests of what every run of the workflow makes anew with the same bytes."""
    return {path: d for path, d in found.items() if not path.endswith(SHOW_TIMES) and "summary/gene_stat" not in path}


class Reference(NamedTuple):
    """A finished project. targets: what was asked for. jobs: all that ran. digests: of all files under results."""

    folder: Path
    targets: tuple[str, ...]
    jobs: list[Job]
    digests: dict[str, str]

    def copy(self, folder: Path, results: bool = True) -> Project:
        """A copy with or without its results."""
        unwanted = shutil.ignore_patterns(*(() if results else (OUT, ".snakemake")))
        shutil.copytree(self.folder, folder, ignore=unwanted, symlinks=True)
        return Project(folder)


def config_of(whole: bool) -> dict[str, Any]:
    """As few models as make every rule run, or one for the few jobs of the usual test suite; names that need quotes."""
    config = small_config(output=OUT)
    config["datasets"]["one"]["path"] = ODD_NAMES["one.h5ad"]
    config["gene_priors"]["vectors"]["path"] = ODD_NAMES["vectors.csv"]
    if not whole:
        return config | {"models": {"beta_vae": {"mode": "beta_vae"}}}
    del config["models"]["beta_vae"]
    config["models"]["types"] = {"mode": "logistic_regression", "embedding_of": "pca", "max_epochs": 20}
    config["evaluate"]["controls"] = ["pca", "random", "shuffled"]
    return config | {"markers": {"one": ODD_NAMES["markers.csv"]}}


def make_reference(folder: Path, whole: bool) -> Reference:
    """Run a small project to its end: all rules, or a few."""
    folder.mkdir()
    project = copy_project(folder)
    markers = "".join(f"type_{kind},GENE{kind * 20 + i}\n" for kind in range(3) for i in range(5))
    (folder / "markers.csv").write_text("cell_type,gene\n" + markers, encoding="utf-8")
    for name, odd in ODD_NAMES.items():
        (folder / name).rename(folder / odd)
    config, targets = config_of(whole), ("all", "held_out") if whole else SHORT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", _odd_python(folder.parent))
        project.snakemake(*targets, config=config)
        jobs = jobs_of(project, *targets)
        if whole:  # a rule that only several datasets need
            config["datasets"]["two"] = config["datasets"]["one"] | {"path": "two.h5ad"}
            (folder / "both.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            both = (f"{OUT}/summary/gene_statistics.parquet", "--configfile", "both.yaml")
            project.snakemake(*both)
            jobs += [job for job in jobs_of(project, *both) if job.rule == "merge_gene_statistics"]
    for job in sorted(jobs, key=lambda job: job.rule == "write_report"):  # times were added since these were made
        if any(path.endswith(SHOW_TIMES) for path in job.outputs):
            run(job.command, folder).check_returncode()
    return Reference(folder, targets, jobs, digests(folder / OUT))


def _odd_python(folder: Path) -> str:
    """The running Python under a path that needs quotes."""
    (folder / "python ä 'q'").symlink_to(sys.prefix)
    return str(folder / "python ä 'q'/bin/python")
