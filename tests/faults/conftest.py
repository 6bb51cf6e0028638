"""A small project that has run to its end, undisturbed: what trials are compared with."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_project import FOLDER, Reference, make_reference
from forked import Forks
from project import Project


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all trials are asked for."""
    return bool(request.config.getoption("--all-trials"))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, whole: bool) -> Reference:
    """A project with the results of all its rules (of a few in the usual test suite), made once for all workers.

    Its folder has a name that needs quotes, so all that is tried with it is tried in such a folder, too.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(shared / "reference.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = shared / "reference.pickle"
        if not made.exists():
            made.write_bytes(pickle.dumps(make_reference(shared / FOLDER, whole)))
        return pickle.loads(made.read_bytes())


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs jobs without their slow imports."""
    server = Forks()
    yield server
    server.close()


@pytest.fixture
def project(reference: Reference, tmp_path: Path) -> Project:
    """A copy of the reference with its results."""
    return reference.copy(tmp_path / "project")


@pytest.fixture
def fresh_project(reference: Reference, tmp_path: Path) -> Callable[[str], Project]:
    """Copies of the reference without results, under the given names."""
    return lambda name: reference.copy(tmp_path / name, results=False)
