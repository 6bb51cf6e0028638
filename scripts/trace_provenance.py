"""Print where an artefact comes from, and verify the hashes of everything that it was made of.

A tree: each file with the script, code, settings, versions, seed and device that made it, then its inputs, down to the
user's own files. With --all every artefact of a results folder is verified. Exit status 1 when something does not
hold: an input that has changed or is missing, a damaged file, an artefact that does not tell where it comes from.
Code and packages that are other ones today are told, and no failure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sclamp.core import cli
from sclamp.core.errors import UserError, did_you_mean


def main() -> None:
    """Parse, follow, print, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("artefact", nargs="?", type=Path, help="a file below a results folder")
    arguments.add_argument("--all", type=Path, metavar="RESULTS", help="verify every artefact of this folder instead")
    arguments.add_argument(
        "--inputs", nargs="+", default=[], type=Path, metavar="PATH",
        help="where else to look for inputs; files that the settings name, and downloads, are found without",
    )  # fmt: skip
    arguments.add_argument("--json", action="store_true", help="print JSON instead of a tree")
    arguments.add_argument("--output", type=Path, help="with --all: JSON file to write the whole account to")
    given = arguments.parse_args()
    if (given.artefact is None) == (given.all is None):
        arguments.error("give an artefact, or --all and a results folder")
    check(given)

    from sclamp.provenance import words
    from sclamp.provenance.trace import Tracer

    if given.artefact:
        step = Tracer(results_of(given.artefact), given.inputs).trace(given.artefact)
        print(json.dumps(words.as_json(step), indent=2) if given.json else "\n".join(words.tree(step)))
        problems = step.problems
    else:
        problems = verify_all(given)
    if problems:
        raise UserError(*problems)


def check(given: Any) -> None:
    """Demand that what was named exists; all that does not is told."""
    problems = []
    for path, is_there in ((given.artefact, Path.is_file), (given.all, Path.is_dir)):
        if path is not None and not is_there(path):
            beside = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
            what = "file" if path is given.artefact else "folder"
            problems.append(f"{path}: no such {what}{did_you_mean(str(path), beside)}")
    problems += [f"--inputs: {path}: no such file or folder." for path in given.inputs if not path.exists()]
    if problems:
        raise UserError(*problems)


def results_of(artefact: Path) -> Path:
    """The results folder of an artefact: the highest folder above it, below here, with `datasets` in it."""
    above = [folder for folder in artefact.parents if (folder / "datasets").is_dir()]
    return above[-1] if above else artefact.parent


def verify_all(given: Any) -> list[str]:
    """Verify a results folder; prints and writes the account, returns what does not hold."""
    from sclamp.core.files import write_json
    from sclamp.provenance import words
    from sclamp.provenance.trace import Tracer

    tracer = Tracer(given.all, given.inputs)
    tracer.files.hash_all()
    steps = {str(path.relative_to(given.all)): tracer.trace(path) for path in tracer.artefacts()}
    found = words.summary(steps)
    if given.output:
        write_json(given.output, found)
    if given.json:
        print(json.dumps(found, indent=2))
    inputs = sum(len(step.inputs) for step in steps.values())
    changed = sum(bool(step.differs) for step in steps.values())
    print(
        f"{given.all}: {len(steps)} artefacts, {inputs} inputs, {len(found['own_files'])} of your own files; "
        f"{changed} artefacts are of other code or packages than today's; "
        f"{len(found['problems']) or 'no'} problem{'s' * (len(found['problems']) != 1)}",
        file=sys.stderr,
    )
    return found["problems"]


if __name__ == "__main__":
    cli.run(main)
