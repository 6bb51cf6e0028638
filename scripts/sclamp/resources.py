"""What a job asks of the machine: grows with the size of its input and with each attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sclamp.paths import Paths
from sclamp.workflow import Plan


def memory(plan: Plan, base: float, per_input_mb: float) -> Callable[..., int]:
    """Megabytes: (base + per_input_mb x megabytes of input) x memory_scale, half as much again per further attempt."""
    scale = plan.resources.memory_scale

    def mem_mb(wildcards: Any, input: Any, attempt: int) -> int:
        return int((base + per_input_mb * input_mb(plan, wildcards, input)) * scale * (1 + 0.5 * (attempt - 1)))

    return mem_mb


def minutes(plan: Plan, base: float, per_input_gb: float) -> Callable[..., int]:
    """Minutes: (base + per_input_gb x gigabytes of input) x runtime_scale, doubled with each further attempt."""
    scale = plan.resources.runtime_scale

    def runtime(wildcards: Any, input: Any, attempt: int) -> int:
        gigabytes = input_mb(plan, wildcards, input) / 1000
        return int((base + per_input_gb * gigabytes) * scale * 2 ** (attempt - 1)) + 1

    return runtime


def input_mb(plan: Plan, wildcards: Any, files: Iterable[str]) -> float:
    """Megabytes of a job's input.

    Counts that are yet to be made are taken for as large as the user's files of the dataset. Otherwise a group of jobs
    would ask for what its first jobs need: the later ones read what the first ones write.
    """
    megabytes = 0.0
    for file in files:
        path = Path(file)
        if path.exists():
            megabytes += path.stat().st_size / 1e6
        elif path.suffix == ".h5ad" and hasattr(wildcards, "dataset"):
            megabytes += sum(Path(raw).stat().st_size for raw in Paths(plan).raw_files(wildcards)) / 1e6
    return megabytes
