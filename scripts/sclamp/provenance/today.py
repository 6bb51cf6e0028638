"""How the code and the packages of today differ from those that made an artefact."""

from __future__ import annotations

import functools
import platform
from importlib import metadata
from typing import Any

from sclamp.config.registry import MODES
from sclamp.digest import SCRIPTS, code_of


def differences(provenance: dict[str, Any]) -> list[str]:
    """Sentences; none where everything is as it was, or where nothing was noted."""
    script, code = str(provenance.get("script", "")), provenance.get("code")
    found = []
    if not code:
        found.append("the digest of its code was not noted")
    elif not (SCRIPTS / script).is_file():
        found.append(f"there is no script {script} any more")
    elif not _of_today(script, (provenance.get("settings") or {}).get("mode"), code):
        found.append(f"{script} or what it imports has changed since")
    for package, version in (provenance.get("versions") or {}).items():
        now = _version(package)
        if now != version:
            found.append(f"{package} was {version}, is {now or 'not installed'}")
    return found


def _of_today(script: str, mode: Any, code: str) -> bool:
    """Whether a digest is that of the script today; of any mode where the settings name none."""
    modes = [mode] if mode in MODES else [None, *MODES]
    return any(code == code_of(script, each) for each in modes)


@functools.cache
def _version(package: str) -> str | None:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
