"""A small project that runs on the toy cluster, and what SLURM says of its jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from cluster import Cluster
from project import copy_project, small_config

IMPATIENT = (
    "--slurm-status-command=squeue",  # a toy cluster keeps no accounts
    "--slurm-init-seconds-before-status-checks=5",
    "--latency-wait=5",
)
SECONDS = 1500  # for a whole run, on a machine that others use, too
OFTEN = {"SCLAMP_SECONDS_BETWEEN_SAVES": "1"}


def few_models(**models: dict[str, Any]) -> dict[str, Any]:
    """A configuration with these models and few scores."""
    config = small_config()
    config["evaluate"] |= {"left_out_genes": 0.0, "controls": []}
    config["model_defaults"] |= {"cpu_fallback": True}  # the toy's GPUs cannot compute
    config["models"] = models
    return config


def long_training(epochs: int) -> dict[str, Any]:
    """A model that trains for a while: about 170 epochs a second."""
    return {"mode": "beta_vae", "max_epochs": epochs, "patience": epochs}


def prepared_from(finished: Path, folder: Path) -> Path:
    """A copy of a finished project, with its data ready and nothing trained."""
    shutil.copytree(finished, folder / "project")
    shutil.rmtree(folder / "project/results/datasets/one/models")
    return folder / "project"


class OnCluster:
    """A small project and the cluster that it runs on."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder if (folder / "Snakefile").exists() else copy_project(folder).folder
        self.cluster, self.before = cluster, set(cluster.jobs())

    def start(self, *arguments: str, config: dict[str, Any] | None = None) -> subprocess.Popen[bytes]:
        """Start Snakemake with the project's SLURM profile; its output goes to run.log."""
        if config is not None:
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--profile", "profiles/slurm"]
        path = f"{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                [*command, *IMPATIENT, *arguments],
                cwd=self.folder,
                env=self.cluster.environment | OFTEN | {"PATH": path, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str, config: dict[str, Any] | None = None, code: int = 0) -> str:
        """Run Snakemake to its end, which must come with this exit status; returns what it has said so far."""
        process = self.start(*arguments, config=config)
        try:
            ended = process.wait(SECONDS)
        finally:
            process.kill()
        assert ended == code, self.said()[-6000:]
        return self.said()

    def said(self) -> str:
        """All that Snakemake has said in this project."""
        return (self.folder / "run.log").read_text(encoding="utf-8", errors="replace")

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """Jobs of this project whose comment (rule and wildcards) begins so, oldest first."""
        jobs = [
            job
            for number, job in self.cluster.jobs().items()
            if number not in self.before and job.get("WorkDir") == str(self.folder.resolve())
        ]
        return sorted((j for j in jobs if f"rule_{rule}" in j.get("Comment", "")), key=lambda j: int(j["JobId"]))

    def wait_for(self, what: Callable[[], Any], seconds: float = 900) -> Any:
        """Wait until `what()` is true and return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.3)
        raise AssertionError(f"waited {seconds} s in vain; last words:\n{self.said()[-3000:]}")

    def file(self, model: str, name: str) -> Path:
        """A file of a run."""
        return self.folder / f"results/datasets/one/models/{model}/seed_1/{name}"

    def training(self, model: str) -> dict[str, str]:
        """The running training of a model, once it has been saved for the first time."""
        self.wait_for(lambda: self.file(model, "resume.pt").is_file())
        return next(job for job in reversed(self.jobs("train_model")) if f"_{model}_1" in job["Comment"])

    def process_of(self, model: str) -> list[int]:
        """Processes that train a model of this project, and no others."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                here, command = (path / "cwd").resolve(), (path / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            target = f"{self.file(model, 'model.pt').relative_to(self.folder)}".encode()
            script = command[1 + (command[1:2] == [b"-u"]) :][:1] == [b"scripts/train_model.py"]  # not its launcher
            if here == self.folder.resolve() and script and target in command:
                found.append(int(path.name))
        return found


def megabytes(job: dict[str, str]) -> int:
    """Memory that a job has asked for."""
    number, unit = re.search(r"mem=([\d.]+)([MG])", job["TRES"]).groups()  # type: ignore[union-attr]
    return round(float(number) * (1024 if unit == "G" else 1))


def gpus(job: dict[str, str]) -> int:
    """GPUs that a job has asked for."""
    found = re.search(r"gres:gpu(?::\w+)?:(\d+)", job.get("TresPerJob", "") + job.get("TresPerNode", ""))
    return int(found[1]) if found else 0


def span(job: dict[str, str]) -> tuple[datetime, datetime]:
    """When a job started and ended."""
    start, end = (datetime.fromisoformat(job[key]) for key in ("StartTime", "EndTime"))
    return start, end
