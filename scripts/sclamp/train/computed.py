"""What of a machine may change the last digits of a computation, for provenance."""

from __future__ import annotations

from typing import Any

import torch


def computed_on(device: torch.device) -> dict[str, Any]:
    """The device; on the CPU also the number of threads, which the sums of a step are split among."""
    return {"device": device.type} | ({"threads": torch.get_num_threads()} if device.type == "cpu" else {})
