"""What a job asks of the machine: grows with the size of its input and with each attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sclamp.workflow import Plan


def memory(plan: Plan, base: float, per_input_mb: float) -> Callable[..., int]:
    """Megabytes: (base + per_input_mb x megabytes of input) x memory_scale, half as much again per further attempt."""
    scale = plan.resources.memory_scale

    def mem_mb(wildcards: Any, input: Any, attempt: int) -> int:
        return int((base + per_input_mb * input.size_mb) * scale * (1 + 0.5 * (attempt - 1)))

    return mem_mb


def minutes(plan: Plan, base: float, per_input_gb: float) -> Callable[..., int]:
    """Minutes: (base + per_input_gb x gigabytes of input) x runtime_scale, doubled with each further attempt."""
    scale = plan.resources.runtime_scale

    def runtime(wildcards: Any, input: Any, attempt: int) -> int:
        return int((base + per_input_gb * input.size_mb / 1000) * scale * 2 ** (attempt - 1)) + 1

    return runtime
