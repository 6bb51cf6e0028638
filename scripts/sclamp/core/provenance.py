"""Where an artefact comes from: settings, inputs, code, seed, versions."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from sclamp.core.files import sha256

FORMAT = 2
"""1 named inputs by their file name alone, so that of several with one name the last one counted."""


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
        "inputs": {name: sha256(path) for path, name in names_apart(inputs).items()},
        "code": code,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
        **more,
    }


def names_apart(paths: Iterable[str | Path]) -> dict[str, str]:
    """Path -> name: the file name, with as many of its folders as tell it from others of the same file name.

    Never a whole path: a moved project would give other bytes.
    """
    whole = {str(Path(path).absolute()): None for path in paths}
    same: dict[str, list[str]] = defaultdict(list)
    for path in whole:
        same[Path(path).name].append(path)
    names: dict[str, str] = {}
    for group in same.values():
        depth, ends = 0, set[str]()
        while len(ends) < len(group):
            depth += 1
            ends = {_end(path, depth) for path in group}
        names |= {path: _end(path, depth) for path in group}
    return {path: names[path] for path in whole}


def beside(*paths: str | Path) -> dict[str, str]:
    """Name -> sha256 of files written along with an artefact that cannot say themselves where they come from.

    As `beside=beside("scores.csv")` in the provenance of the table of the same content.
    """
    return {Path(path).name: sha256(path) for path in paths}


def _end(path: str, depth: int) -> str:
    here = os.path.relpath(path)
    return "/".join(Path(path if here.startswith("..") else here).parts[-depth:])
