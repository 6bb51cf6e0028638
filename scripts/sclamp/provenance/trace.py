"""The chain that made an artefact: each input found again by its hash, down to the user's files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sclamp.core.errors import UserError
from sclamp.provenance.files import Files
from sclamp.provenance.stored import provenance_beside, provenance_in, reason_without
from sclamp.provenance.today import differences

State = Literal["verified", "changed since", "missing", "damaged"]


@dataclass
class Step:
    """A file of the chain. name: by which the next step knows it. sha256: the one that was noted when it was read.

    path: where it lies now, relative to here. beside: the artefact that tells where this one comes from.
    made: its provenance, empty for the user's own files. differs: code and packages that are other ones today.
    """

    name: str
    sha256: str
    state: State
    path: str = ""
    beside: str = ""
    made: dict[str, Any] = field(default_factory=dict)
    differs: list[str] = field(default_factory=list)
    inputs: list[Step] = field(default_factory=list)
    problem: str = ""

    def chain(self) -> Iterator[Step]:
        """The step itself and all before it, each once."""
        seen, waiting = set[int](), [self]
        while waiting:
            step = waiting.pop()
            if id(step) not in seen:
                seen.add(id(step))
                yield step
                waiting += reversed(step.inputs)

    @property
    def problems(self) -> list[str]:
        """What does not hold in the chain."""
        return [step.problem for step in self.chain() if step.problem]


class Tracer:
    """Follows artefacts back; steps that several artefacts share are followed once."""

    def __init__(self, results: Path, more: list[Path]) -> None:
        """more: further places where inputs may lie. The files that settings name are looked at without being told."""
        self.results = results
        self._known: dict[tuple[str, str], Step] = {}
        artefacts = Files([results]).paths
        self.files = Files([results, *more, *_named_in_settings(artefacts)])

    def artefacts(self) -> list[Path]:
        """Files of the results that must tell where they come from."""
        inside = [path for path in self.files.paths if path.is_relative_to(self.results)]
        return [path for path in inside if reason_without(str(path.relative_to(self.results))) is None]

    def trace(self, path: Path) -> Step:
        """The chain behind an artefact."""
        return self._step(path.name, self.files.sha256(path), path)

    def _step(self, name: str, digest: str, path: Path) -> Step:
        if (str(path), digest) in self._known:
            return self._known[str(path), digest]
        step = self._known[str(path), digest] = Step(name, digest, "verified", shown(path))
        try:
            step.made = provenance_in(path)
            if not step.made:
                step.made, other = provenance_beside(path)
                step.beside = other.name if other else ""
        except UserError as error:
            step.state, step.problem = "damaged", str(error)
            return step
        if step.made:
            step.differs = differences(step.made)
            step.inputs = [self._input(step, *each) for each in (step.made.get("inputs") or {}).items()]
        elif path.is_relative_to(self.results):
            step.problem = f"{step.path}: does not tell where it comes from."
        return step

    def _input(self, of: Step, name: str, digest: str) -> Step:
        path = self.files.find(name, digest)
        if path is not None:
            return self._step(name, digest, path)
        instead = self.files.named(name)
        if instead is None:
            why = f"{of.path}: its input {name} is missing (sha256 {digest[:12]}...)."
            return Step(name, digest, "missing", problem=why)
        now = self.files.sha256(instead)
        was = f"sha256 was {digest[:12]}..., is {now[:12]}..."
        why = f"{shown(instead)}: has changed since {of.path} was made of it ({was})."
        return Step(name, digest, "changed since", shown(instead), problem=why)


def shown(path: Path) -> str:
    """A path as it is told: relative where it lies below the working directory."""
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here


def _named_in_settings(artefacts: list[Path]) -> list[Path]:
    """Files and folders that the settings of artefacts name: the user's own, as the configuration says them."""
    found: set[str] = set()
    for path in artefacts:
        try:
            found.update(_texts(provenance_in(path).get("settings")))
        except UserError:  # told when the artefact itself is looked at
            continue
    return [Path(text) for text in sorted(found) if _exists(text)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _exists(text: str) -> bool:
    """Whether a text is the path of a file, or of a 10x folder; any other folder may hold anything."""
    if not 0 < len(text) < 1000 or "\0" in text:
        return False
    path = Path(text)
    return path.is_file() or (path.is_dir() and any(path.glob("matrix.mtx*")))
