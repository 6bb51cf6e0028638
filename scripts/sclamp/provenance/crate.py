"""An RO-Crate of results: what is in it, as the JSON-LD of RO-Crate 1.1 and the profile Workflow Run Crate 0.5."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sclamp.provenance.kinds import PARQUET, description, formats
from sclamp.provenance.trace import Step
from sclamp.provenance.words import that_matter

CRATE, RUN = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun"
CONTEXT = [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    f"{RUN}/process/0.5": "Process Run Crate",
    f"{RUN}/workflow/0.5": "Workflow Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
NO_LICENCE = "No licence was chosen: the results may be read, and reused as their authors allow."
METADATA = "ro-crate-metadata.json"

Entity = dict[str, Any]


class About(NamedTuple):
    """What a crate says of itself. licence: an address, empty where none was chosen. published: ISO date."""

    title: str
    licence: str
    published: str


class Contents(NamedTuple):
    """What is in a crate, by its place there.

    results: artefacts, and why each of `left_out` is not there. code: files of the workflow -> their sha256.
    addresses: sha256 -> https address of downloads.
    """

    results: Mapping[str, Step]
    left_out: Mapping[str, str]
    code: Mapping[str, str]
    addresses: Mapping[str, str]


def metadata(about: About, contents: Contents) -> str:
    """The text of ro-crate-metadata.json; the same for the same contents."""
    return json.dumps({"@context": CONTEXT, "@graph": graph(about, contents)}, indent=1, ensure_ascii=False) + "\n"


def graph(about: About, contents: Contents) -> list[Entity]:
    """All entities: the crate, its files, the files that it was made of, and the steps that made them."""
    places = {step.sha256: place for place, step in contents.results.items() if place not in contents.left_out}
    steps = {each.sha256: each for step in contents.results.values() for each in step.chain()}
    files = [_file(step, _place(step, places, contents), contents) for step in steps.values()]
    code = [_source(place, digest) for place, digest in contents.code.items()]
    actions = _actions(steps, places, contents)
    packages = _packages(step.made for step in steps.values())
    whole = _whole_run(actions, files, contents)
    parts = [entity for entity in (*code, *files) if not entity["@id"].startswith("ni:")]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.title,
        "description": f"Results of the scLAMP workflow, '{about.title}': tables, embeddings, figures and a report, "
        "the workflow that made them, and for each file the step that made it.",
        "datePublished": about.published,
        "license": {"@id": about.licence or "#licence"},
        "conformsTo": refs(PROFILES),
        "mainEntity": {"@id": "Snakefile"},
        "hasPart": refs(entity["@id"] for entity in parts),
        "mentions": refs(entity["@id"] for entity in (whole, *actions)),
    }
    said = _said_of_crate(about)
    return _unique([*said, root, *code, *files, *packages, _workflow(contents, packages), whole, *actions])


def refs(ids: Iterable[str]) -> list[Entity]:
    """References to entities, each once, sorted."""
    return [{"@id": each} for each in sorted(set(ids))]


def _said_of_crate(about: About) -> list[Entity]:
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": refs([CRATE, WORKFLOW_CRATE]),
    }
    profiles = [
        {"@id": key, "@type": "CreativeWork", "name": name, "version": key.rpartition("/")[2]}
        for key, name in PROFILES.items()
    ]
    licence = {"@id": about.licence or "#licence", "@type": "CreativeWork"}
    licence |= {"name": about.licence or "None chosen", "description": about.licence or NO_LICENCE}
    language: Entity = {
        "@id": SNAKEMAKE,
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "alternateName": "Snakemake",
    }
    language |= {"identifier": {"@id": "https://snakemake.github.io"}, "url": {"@id": "https://snakemake.github.io"}}
    parquet = {"@id": PARQUET, "@type": "WebPage", "name": "Apache Parquet"}
    return [descriptor, *profiles, licence, language, parquet]


def _file(step: Step, place: str, contents: Contents) -> Entity:
    media, conforms = formats(step.name)
    kind = "CreativeWork" if place.startswith("ni:") else "File"  # a file is one that can be had
    entity: Entity = {"@id": place, "@type": kind, "name": step.name, "sha256": step.sha256}
    entity |= {"description": description(step), "encodingFormat": [media, *refs([PARQUET])] if conforms else media}
    why = next((why for where, why in contents.left_out.items() if contents.results[where].sha256 == step.sha256), "")
    return entity | ({"comment": f"Not in this crate: {why}."} if why else {})


def _place(step: Step, places: Mapping[str, str], contents: Contents) -> str:
    """Where a file is: in the crate, at an address, or known by its hash alone (RFC 6920)."""
    if step.sha256 in places:
        return quote(places[step.sha256])
    if step.sha256 in contents.addresses:
        return contents.addresses[step.sha256]
    digest = base64.urlsafe_b64encode(bytes.fromhex(step.sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{digest}"


def _source(place: str, digest: str) -> Entity:
    kind = ["File", "SoftwareSourceCode"] if place.endswith((".py", ".smk")) else "File"
    return {"@id": quote(place), "@type": kind, "name": Path(place).name, "sha256": digest}


def _workflow(contents: Contents, packages: list[Entity]) -> Entity:
    scripts = [place for place in contents.code if place.startswith("scripts/") and place.count("/") == 1]
    return {
        "@id": "Snakefile",
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "scLAMP",
        "description": "Single-cell representation learning with language-model gene priors.",
        "programmingLanguage": {"@id": SNAKEMAKE},
        "license": {"@id": "https://spdx.org/licenses/MIT"},
        "sha256": contents.code["Snakefile"],
        "hasPart": refs(quote(script) for script in scripts),
        "softwareRequirements": refs(package["@id"] for package in packages),
    }


def _packages(made: Iterable[Mapping[str, Any]]) -> list[Entity]:
    found = {pair for each in made for pair in (each.get("versions") or {}).items()}
    return [
        {"@id": f"#{name}-{version}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version in sorted(found)
    ]


def _actions(steps: Mapping[str, Step], places: Mapping[str, str], contents: Contents) -> list[Entity]:
    """One per call of a script: files of equal provenance come from one call."""
    calls: dict[str, list[Step]] = {}
    for step in steps.values():
        if step.made:
            told = {key: value for key, value in step.made.items() if key != "beside"}
            calls.setdefault(json.dumps(told, sort_keys=True), []).append(step)
    actions = []
    for text, made in sorted(calls.items()):
        told = made[0].made
        script = f"scripts/{told.get('script')}"
        known = {"seed", "device", "threads", "processes"} & told.keys()
        facts = ", ".join(f"{key} {told[key]}" for key in sorted(known))
        settings = json.dumps(that_matter(told.get("settings")), sort_keys=True)
        action: Entity = {
            "@id": f"#call-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "@type": "CreateAction",
            "name": f"{told.get('script')}: {', '.join(sorted(step.name for step in made))}",
            "description": f"{facts}; settings {settings}".lstrip("; "),
            "object": refs(_place(each, places, contents) for each in made[0].inputs),
            "result": refs(_place(step, places, contents) for step in made),
            "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        }
        actions.append(action | ({"instrument": {"@id": script}} if script in contents.code else {}))
    return actions


def _whole_run(actions: list[Entity], files: list[Entity], contents: Contents) -> Entity:
    made = {each["@id"] for action in actions for each in action["result"]}
    own = [entity["@id"] for entity in files if entity["@id"] not in made]
    return {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "The run of the workflow",
        "instrument": {"@id": "Snakefile"},
        "object": refs([*own, *(place for place in contents.code if place == "config.json")]),
        "result": refs(made),
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
    }


def _unique(entities: Iterable[Entity]) -> list[Entity]:
    """Each entity once, by its id: the last one says most."""
    found = {entity["@id"]: entity for entity in entities}
    first = [METADATA, "./"]
    return [found[key] for key in (*first, *sorted(set(found) - set(first)))]
