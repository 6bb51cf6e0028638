"""What the results cost: run time and peak memory, from the benchmark files that Snakemake writes."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from sclamp.plot.cost import FOLDERS, step_name
from sclamp.report.plan import Plan


class Job(NamedTuple):
    """One finished job. seconds: wall time; cpu: CPU seconds; memory: peak resident MB. NaN where not measured."""

    step: str
    dataset: str
    model: str
    seconds: float
    cpu: float
    memory: float


class Cost(NamedTuple):
    """Jobs of one kind taken together. slowest: words for the job that took longest."""

    name: str
    jobs: int
    seconds: float
    longest: float
    slowest: str
    memory: float


def read_jobs(plan: Plan) -> list[Job]:
    """Every finished job of the plan."""
    folders = [(plan.results / "logs", "", "")]
    folders += [(plan.folder(name) / "logs", name, "") for name in plan.datasets]
    folders += [(run.folder / "logs", run.dataset, run.model) for run in plan.runs(*plan.models, *plan.controls)]
    jobs = []
    for folder, dataset, model in folders:
        for path in sorted(folder.glob("*.benchmark.tsv")):
            step = path.name.removesuffix(".benchmark.tsv")
            jobs += [Job(step, dataset, model, *numbers) for numbers in _read(path)]
    return jobs


def _read(path: Path) -> list[tuple[float, float, float]]:
    with open(path, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return [tuple(_number(row.get(key)) for key in ("s", "cpu_time", "max_rss")) for row in rows]  # type: ignore[misc]


def _number(text: str | None) -> float:
    """Snakemake writes NA or - for what it could not measure, as in jobs that end at once."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def by_step(jobs: list[Job]) -> list[Cost]:
    """Costs per step of the workflow, the dearest first."""
    return _grouped(
        jobs, lambda job: step_name(_folder(job), job.step), lambda job: f"{job.dataset} {job.model}".strip()
    )


def _folder(job: Job) -> str:
    of_all, of_dataset, of_run = FOLDERS
    return of_run if job.model else of_dataset if job.dataset else of_all


def of_training(jobs: list[Job]) -> list[Cost]:
    """Costs of fitting each model, the dearest first."""
    return _grouped([job for job in jobs if job.step == "train"], lambda job: job.model, lambda job: job.dataset)


def _grouped(jobs: list[Job], name, which) -> list[Cost]:  # type: ignore[no-untyped-def]
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[name(job)].append(job)
    costs = []
    for title, members in groups.items():
        times = [job.seconds for job in members if job.seconds == job.seconds]
        memory = [job.memory for job in members if job.memory == job.memory]
        slowest = max(members, key=lambda job: job.seconds if job.seconds == job.seconds else -1.0)
        costs.append(
            Cost(title, len(members), sum(times), max(times, default=float("nan")), which(slowest),
                 max(memory, default=float("nan")))
        )  # fmt: skip
    return sorted(costs, key=lambda cost: -cost.seconds)
