"""Chains in words: a tree for the terminal, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sclamp.config.registry import MODES, settings_class
from sclamp.provenance.trace import Step

FACTS = ("seed", "device", "threads", "processes", "model_sha256")


def tree(step: Step) -> list[str]:
    """Lines of the whole chain; what came up before is not shown again."""
    return list(_lines(step, "", "", set()))


def _lines(step: Step, first: str, rest: str, seen: set[int]) -> Iterator[str]:
    where = f" = {step.path}" if step.path and step.path != step.name else ""
    again = ", shown above" if id(step) in seen and step.inputs else ""
    own = "" if step.made or step.problem else ", your own"
    yield f"{first}{step.name}{where}  [{step.sha256[:12]}, {step.state}{own}{again}]"
    if step.problem:
        yield f"{rest}    ! {step.problem}"
    if id(step) in seen or not step.made:
        return
    seen.add(id(step))
    for line in _about(step):
        yield f"{rest}    {line}"
    for number, each in enumerate(step.inputs, start=1):
        last = number == len(step.inputs)
        yield from _lines(each, f"{rest}{'`-- ' if last else '|-- '}", f"{rest}{'    ' if last else '|   '}", seen)


def _about(step: Step) -> Iterator[str]:
    made = step.made
    facts = [f"code {made['code']}" if made.get("code") else "", *(f"{k} {made[k]}" for k in FACTS if k in made)]
    told = f", as {step.beside} tells" if step.beside else ""
    yield f"by {made.get('script')}{told}; " + ", ".join(fact for fact in facts if fact)
    if settings := that_matter(made.get("settings")):
        text = json.dumps(settings, ensure_ascii=False)
        yield f"settings {text if len(text) <= 160 else text[:157] + '...'}"
    yield "with " + ", ".join(f"{name} {version}" for name, version in (made.get("versions") or {}).items())
    yield from (f"today: {difference}" for difference in step.differs)


def that_matter(settings: Any) -> Any:
    """Settings that are not empty; of a model, those that are not at their default."""
    if not isinstance(settings, dict):
        return settings
    usual: dict[str, Any] = {}
    if (mode := settings.get("mode")) in MODES:
        fields = settings_class(mode).model_fields.items()
        usual = {name: field.get_default(call_default_factory=True) for name, field in fields if name != "mode"}
        usual = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    empty: tuple[Any, ...] = (None, "", [], {})
    return {k: v for k, v in settings.items() if v not in empty and (k not in usual or v != usual[k])}


def as_json(step: Step) -> dict[str, Any]:
    """The whole chain, nested, with everything that is known of each step."""
    about = {"name": step.name, "sha256": step.sha256, "state": step.state, "path": step.path, "beside": step.beside}
    more = {"problem": step.problem, "differs_today": step.differs, "provenance": step.made}
    inputs = [as_json(each) for each in step.inputs]
    return {key: value for key, value in (about | more | {"inputs": inputs}).items() if value}


def summary(steps: dict[str, Step]) -> dict[str, Any]:
    """All artefacts and their direct inputs, and the user's own files; the same for the same files."""
    artefacts: dict[str, Any] = {}
    own: dict[str, str] = {}
    for path, step in steps.items():
        made = step.made
        artefacts[path] = {
            "sha256": step.sha256,
            "script": made.get("script"),
            "code": made.get("code"),
            **{name: made[name] for name in FACTS if name in made},
            **({"told_by": step.beside} if step.beside else {}),
            "inputs": [{"name": i.name, "sha256": i.sha256, "state": i.state, "path": i.path} for i in step.inputs],
            "differs_today": step.differs,
        }
        own |= {each.path: each.sha256 for each in step.chain() if not each.made and each.state == "verified"}
    problems = sorted({problem for step in steps.values() for problem in step.problems})
    return {"format": 1, "problems": problems, "own_files": dict(sorted(own.items())), "artefacts": artefacts}
