"""Finds files by what they hold: each is hashed at most once, those of the right name first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from sclamp.core.download import cache_folder
from sclamp.core.files import sha256
from sclamp.core.progress import progress


class Files:
    """Files below some folders, and single ones. Hidden files and folders do not count."""

    def __init__(self, places: Iterable[Path]) -> None:
        self.paths = sorted({path for place in places for path in _below(place)})
        self._digests: dict[Path, str] = {}

    def sha256(self, path: Path) -> str:
        """Digest of a file, remembered."""
        if path not in self._digests:
            self._digests[path] = sha256(path)
        return self._digests[path]

    def hash_all(self) -> None:
        """Hash every file, with progress: all are looked at anyway."""
        for path in progress(self.paths, len(self.paths), "hashing", "files"):
            self.sha256(path)

    def find(self, name: str, digest: str) -> Path | None:
        """A file with this digest; the one whose path ends most like `name` where there are several."""
        alike = [path for path in self.paths if path.name == Path(name).name]
        for path in sorted(alike, key=lambda path: (-_agreement(path, name), path)):
            if self.sha256(path) == digest:
                return path
        folder = cache_folder() / digest
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file() and self.sha256(path) == digest:
                return path
        if len(self._digests) < len(self.paths):  # renamed, or not there: look at all
            self.hash_all()
        return next((path for path in self.paths if self._digests.get(path) == digest), None)

    def named(self, name: str) -> Path | None:
        """The file whose path ends most like `name`, whatever it holds."""
        alike = [path for path in self.paths if path.name == Path(name).name]
        return max(alike, key=lambda path: _agreement(path, name), default=None)


def _below(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for path in place.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place).parts):
            yield path


def _agreement(path: Path, name: str) -> int:
    """How many parts of a path and a name agree, from the end."""
    parts = zip(reversed(path.parts), reversed(Path(name).parts), strict=False)
    return next((number for number, (a, b) in enumerate(parts) if a != b), min(len(path.parts), len(Path(name).parts)))
