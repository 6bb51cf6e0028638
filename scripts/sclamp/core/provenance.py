"""Where an artefact comes from: settings, inputs, code, seed, versions."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from sclamp.core.files import sha256

FORMAT = 1


def provenance(
    script: str,
    settings: Any,
    inputs: Iterable[str | Path] = (),
    code: str = "",
    packages: Iterable[str] = ("numpy",),
    **more: Any,
) -> dict[str, Any]:
    """Collect what is needed to repeat a step; deterministic, so that equal runs give equal bytes.

    script: name of the script. settings: JSON-serialisable. inputs: files, stored by name and sha256.
    code: digest of the code. packages: distributions whose versions matter. more: seed, device and the like.
    """
    return {
        "format": FORMAT,
        "script": script,
        "settings": settings,
        "inputs": {Path(p).name: sha256(p) for p in inputs},
        "code": code,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
        **more,
    }
