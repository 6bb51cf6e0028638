"""Packs a crate: which files go in, and a zip archive whose bytes follow from what is in it."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sclamp.config.evaluate import Crate
from sclamp.core.errors import UserError
from sclamp.core.files import sha256, written_aside
from sclamp.provenance.crate import METADATA, About, Contents, metadata
from sclamp.provenance.trace import Step, Tracer

CODE = ("Snakefile", "LICENSE", "README.md", "CITATION.cff", "workflow", "scripts", "envs", "profiles")
NOT_CODE = {"__pycache__", "demo"}
EARLIEST = datetime.date(1980, 1, 1)
"""The earliest date that a zip archive can tell; stands for unknown."""


def pack(tracer: Tracer, settings: Crate, workflow: Path, config: dict[str, Any], output: Path) -> str:
    """Write the crate; returns in words what is in it. Errors: results whose provenance does not hold."""
    steps = {str(path.relative_to(tracer.results)): tracer.trace(path) for path in tracer.artefacts()}
    if problems := sorted({problem for step in steps.values() for problem in step.problems}):
        raise UserError(*problems)
    if not steps:
        raise UserError(f"{tracer.results}: holds no results yet; run the workflow first.")
    left_out = {place: why for place in steps if (why := _why_not(tracer.results / place, settings))}
    results = {f"results/{place}": step for place, step in steps.items()}
    out = {f"results/{place}": why for place, why in left_out.items()}
    code = {str(path.relative_to(workflow)): path for path in _code(workflow)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    digests = {place: sha256(path) for place, path in code.items()}
    digests["config.json"] = hashlib.sha256(text.encode()).hexdigest()
    about = About(config.get("title") or "scLAMP", settings.license, _published(settings).isoformat())
    described = metadata(about, Contents(results, out, digests, _addresses(results.values())))
    with written_aside(output) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        _write(archive, METADATA, described.encode())
        _write(archive, "config.json", text.encode())
        for place, path in sorted(code.items()):
            _copy(archive, place, path)
        for place in sorted(steps.keys() - left_out.keys()):
            _copy(archive, f"results/{place}", tracer.results / place)
    packed = len(steps) - len(left_out)
    return f"{packed} artefacts, {len(code)} files of the workflow; {len(left_out)} artefacts left out"


def _why_not(path: Path, settings: Crate) -> str:
    if path.suffix == ".pt" and not settings.models:
        return "models are left out"
    megabytes = path.stat().st_size / 1e6
    return f"{megabytes:.0f} MB are more than {settings.max_file_mb:g}" if megabytes > settings.max_file_mb else ""


def _published(settings: Crate) -> datetime.date:
    """The date of the setting, else that of $SOURCE_DATE_EPOCH, else unknown."""
    if settings.published:
        return settings.published
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date() if seconds.isdecimal() else EARLIEST


def _code(workflow: Path) -> Iterator[Path]:
    for name in CODE:
        place = workflow / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            parts = path.relative_to(workflow).parts
            if path.is_file() and not NOT_CODE & set(parts) and not any(part.startswith(".") for part in parts):
                yield path


def _addresses(steps: Iterable[Step]) -> dict[str, str]:
    """sha256 -> https address of the files that the settings of a step name both of."""
    found: dict[str, str] = {}
    for step in steps:
        for each in step.chain():
            settings = each.made.get("settings")
            values = [v for v in settings.values() if isinstance(v, str)] if isinstance(settings, dict) else []
            address = next((value for value in values if value.startswith("https://")), "")
            found |= {own.sha256: address for own in each.inputs if address and own.sha256 in values}
    return found


def _entry(place: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(place, (EARLIEST.year, EARLIEST.month, EARLIEST.day, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _write(archive: zipfile.ZipFile, place: str, content: bytes) -> None:
    archive.writestr(_entry(place), content)


def _copy(archive: zipfile.ZipFile, place: str, path: Path) -> None:
    entry = _entry(place)
    entry.file_size = path.stat().st_size  # beyond 2 GB the archive needs to know beforehand
    with open(path, "rb") as source, archive.open(entry, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)
