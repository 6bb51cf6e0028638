"""What the command lines of all scripts share.

A script parses arguments, reads, calls the library, writes. A `UserError` ends it with exit status 1 and the problems
on stderr, without a traceback; anything else is a bug and shows one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from sclamp.core.errors import UserError
from sclamp.core.threads import fix_threads

SECONDS_FOR_THE_FIRST = 10.0


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser that shows the script's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_settings(arguments: argparse.ArgumentParser, what: str) -> None:
    """Add --settings (JSON text, or the path of a JSON or YAML file) and --code (a digest kept as provenance)."""
    arguments.add_argument("--settings", default="{}", help=f"{what}: JSON text, or the path of a JSON or YAML file")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")


def read_settings(text: str) -> dict[str, Any]:
    """Read the value of --settings."""
    if not text.lstrip().startswith("{"):
        path = Path(text)
        if not path.is_file():
            raise UserError(f"--settings: '{text}' is neither JSON nor an existing file.")
        import yaml

        try:
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            what = " ".join(f"{error}".split())[:300]
            raise UserError(f"--settings: {path}: cannot be read as JSON or YAML ({what}).") from error
    else:
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"--settings: not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"--settings: a mapping is expected, found {type(value).__name__}.")
    return value


def add_cells(arguments: argparse.ArgumentParser) -> None:
    """Add --counts or --data, --min-genes-share and --settings of the data: the cells that a trained model is shown."""
    cells = arguments.add_mutually_exclusive_group(required=True)
    cells.add_argument("--counts", type=Path, help="genes/SELECTION.h5ad that the model was trained on")
    cells.add_argument("--data", help="new cells: .h5ad, 10x .h5 or 10x MTX folder with raw counts")
    arguments.add_argument(
        "--min-genes-share", type=float, default=0.5, help="least share of the model's genes in --data"
    )
    add_settings(arguments, "settings of --data, as in `datasets` (counts, gene_ids, batch, label, ...)")


def read_cell_settings(given: argparse.Namespace) -> dict[str, Any]:
    """Read the --settings of `add_cells`; none belong to --counts."""
    settings = read_settings(given.settings)
    if given.counts and settings:
        raise UserError("--settings: says how to read --data; --counts needs none.")
    return settings


def name_and_path(text: str) -> tuple[str, str]:
    """Split NAME=PATH, both of which may hold "=" themselves: where a path that exists begins, else at the first.

    Either part is empty where it is missing.
    """
    splits = [(text[:at], text[at + 1 :]) for at, sign in enumerate(text) if sign == "="]
    return next((split for split in splits if split[1] and Path(split[1]).exists()), (splits or [("", "")])[0])


def run(main: Callable[[], None]) -> None:
    """Call a script's main function and turn a `UserError` into a message and exit status 1.

    A signal that asks the process to end does so in the orderly way: what is half written is removed.

    Of an error that all processes of one torchrun have, the first one tells; torchrun then ends the others.
    """
    try:
        with _asked_to_end():
            fix_threads()
            main()
    except UserError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(SECONDS_FOR_THE_FIRST)
        name = Path(sys.argv[0]).name
        print(f"{name}: {len(error.problems)} problem{'s' * (len(error.problems) != 1)}", file=sys.stderr)
        print(*(f"  - {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        sys.exit(1)


@contextlib.contextmanager
def _asked_to_end() -> Iterator[None]:
    """Turn signals, unless they are ignored, into `SystemExit` with the status that a shell gives for them."""

    def leave(number: int, frame: FrameType | None) -> None:
        restore()  # a second one ends the process at once
        with contextlib.suppress(OSError):
            os.write(2, f"{Path(sys.argv[0]).name}: stopped by {signal.Signals(number).name}\n".encode())
        raise SystemExit(128 + number)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) in usual}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        restore()
