"""Where a figure comes from: what its script was asked for, and the tables that it shows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sclamp.core.cli import read_settings
from sclamp.core.provenance import provenance

WORDS = ("title", "dataset", "baseline")


def origin(script: str, given: argparse.Namespace, *inputs: str | Path | None) -> dict[str, Any]:
    """Provenance of a figure. given: the script's options. inputs: the files that are drawn; None for what is not."""
    asked = {name: value for name in WORDS if (value := getattr(given, name, None))}
    files = [path for path in inputs if path]
    return provenance(script, asked | read_settings(given.settings), files, given.code, ("matplotlib", "numpy"))
