"""Running scripts inside the test's own process, where importing torch is paid once."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a script with arguments, and options by keyword; returns its exit status and what it said on stderr."""

    def call(script: str, *arguments: object, **options: object) -> tuple[int, str]:
        named = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        monkeypatch.setattr(sys, "argv", [script, *map(str, [*arguments, *named])])
        status = 0
        try:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capfd.readouterr().err

    return call
