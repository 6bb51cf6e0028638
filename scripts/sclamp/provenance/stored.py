"""Reads the provenance out of any artefact, of whatever kind of file; runs nothing that is in it."""

from __future__ import annotations

import html
import json
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError
from sclamp.core.files import METADATA_KEY, sha256

KEY = METADATA_KEY.decode()
WITHOUT = {
    "logs/": "logs and benchmarks tell of one run and its times",
    "events.out": "curves for TensorBoard, which carry times",
    "resume.pt": "the state of a training that is not finished",
}
"""Part of a path -> why such files need no provenance."""
ENDINGS = (".tmp", ".lock")


def reason_without(path: str) -> str | None:
    """Why the file at this path, relative to the results, needs no provenance; None where it does need one."""
    if path in {"provenance.json", "crate.zip"}:
        return "made of all others"
    if path.endswith(ENDINGS) or any(part.startswith(".") for part in Path(path).parts):
        return "kept for a later run"
    return next((why for part, why in WITHOUT.items() if part in path), None)


def provenance_in(path: Path) -> dict[str, Any]:
    """The provenance that an artefact holds; empty where it holds none. Errors: a damaged file."""
    read = READERS.get(path.suffix.lower())
    if read is None:
        return {}
    try:
        found = read(path)
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0] if str(error) else error!r}).") from error
    return found if isinstance(found, dict) else {}


def provenance_beside(path: Path) -> tuple[dict[str, Any], Path | None]:
    """Provenance of a file that cannot hold any (CSV, text), and the artefact beside it that does.

    Errors: the file is not the one that was written along with that artefact.
    """
    for other in sorted(path.parent.glob(f"{path.stem}.*")):
        if other == path:
            continue
        told = provenance_in(other)
        if path.name in told.get("beside", {}):
            if told["beside"][path.name] != sha256(path):
                raise UserError(f"{path}: has changed since it was written along with {other.name}.")
            return told, other
    return {}, None


def _of_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return json.loads((pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}"))


def _of_h5ad(path: Path) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        text = file[f"uns/{KEY}"].asstr()[()] if f"uns/{KEY}" in file else "{}"
    stored = json.loads(text)
    return stored.get("assembled") or stored.get("provenance")


def _of_model(path: Path) -> Any:
    """Strings of the pickle, without torch: the one that follows the key, in the file that torch.save writes."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        texts = [value for _, value, _ in pickletools.genops(archive.read(name)) if isinstance(value, str)]
    return json.loads(texts[texts.index("provenance") + 1]) if "provenance" in texts else {}


def _of_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")).get("provenance")


def _of_png(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return json.loads(image.info.get(KEY, "{}"))


def _of_svg(path: Path) -> Any:
    found = re.search(r"<dc:source>(.*?)</dc:source>", path.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(html.unescape(found[1])) if found else {}


def _of_html(path: Path) -> Any:
    found = re.search(rf'<script type="application/json" id="{KEY}">(.*?)</script>', path.read_text(encoding="utf-8"))
    return json.loads(found[1]) if found else {}


READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _of_parquet,
    ".h5ad": _of_h5ad,
    ".pt": _of_model,
    ".json": _of_json,
    ".png": _of_png,
    ".svg": _of_svg,
    ".html": _of_html,
}
