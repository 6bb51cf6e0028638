"""Where the results come from: hashes of inputs, digests of code, versions of packages, as stored in the results."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from sclamp.core.errors import UserError
from sclamp.core.files import METADATA_KEY
from sclamp.report.plan import Plan


class Origin(NamedTuple):
    """An input file. used_by: scripts that read it."""

    name: str
    sha256: str
    used_by: str


class Origins(NamedTuple):
    """inputs: hashes. versions: package -> version or versions. code: script -> digests. devices: model -> device."""

    inputs: list[Origin]
    versions: dict[str, str]
    code: dict[str, str]
    devices: dict[str, str]


def origins(plan: Plan, cards: list[dict[str, Any]]) -> Origins:
    """Collect the provenance of all results that exist. cards: provenance of each cells.h5ad."""
    stored: list[tuple[str | None, dict[str, Any]]] = [(None, provenance) for provenance in cards if provenance]
    stored += [(None, provenance_at(path)) for path in sorted((plan.results / "gene_priors").glob("*.parquet"))]
    for name in plan.datasets:
        folder = plan.folder(name)
        paths = [*folder.glob("genes/*.parquet"), *folder.glob("gene_priors/*/*.parquet")]
        stored += [(None, provenance_at(path)) for path in sorted(paths)]
    for run in plan.runs(*plan.models, *plan.controls):
        for name in ("history.parquet", "cell_embedding.parquet", "umap.parquet", "scores/integration.parquet"):
            stored.append((run.model, provenance_at(run.folder / name)))
    inputs: dict[tuple[str, str], set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    code: dict[str, set[str]] = defaultdict(set)
    devices: dict[str, set[str]] = defaultdict(set)
    for model, entry in stored:
        script = str(entry.get("script", ""))
        for name, digest in (entry.get("inputs") or {}).items():
            inputs[name, str(digest)].add(script)
        for name, version in (entry.get("versions") or {}).items():
            versions[name].add(str(version))
        if entry.get("code"):
            code[script].add(str(entry["code"]))
        if model and entry.get("device"):
            devices[model].add(str(entry["device"]))
    listed = [Origin(name, digest, ", ".join(sorted(users))) for (name, digest), users in sorted(inputs.items())]
    return Origins(listed, _joined(versions), _joined(code), _joined(devices))


def provenance_at(path: Path) -> dict[str, Any]:
    """The provenance in a Parquet file's metadata; empty when there is no such file or it holds none."""
    if not path.is_file():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from error
    return json.loads(metadata.get(METADATA_KEY, b"{}"))


def _joined(values: dict[str, set[str]]) -> dict[str, str]:
    return {key: ", ".join(sorted(found)) for key, found in sorted(values.items())}
