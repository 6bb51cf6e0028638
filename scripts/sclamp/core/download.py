"""Files behind an https address: downloaded aside, verified, kept in a cache under their digest; files inside a zip."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import sha256, written_aside
from sclamp.core.progress import progress

_PIECE = 1 << 20
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_OK = 200  # other answers below 300 bring no file: archives answer 202 while they are asked too often


def is_address(path: str) -> bool:
    """True for what is fetched over the network."""
    return path.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/sclamp, by default ~/.cache/sclamp."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sclamp" / "downloads"


def download(url: str, digest: str, key: str = "path") -> Path:
    """Return the local copy of `url` whose sha256 is `digest`; downloads it only once. key: for messages.

    The copy is named as the server names the file, so that its extension says what it is, also behind an address like
    /files/123. Errors: plain http to another machine, no answer, a download that breaks off, a file with another digest
    (which is not kept).
    """
    import urllib.error
    import urllib.request

    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise UserError(f"{key}: '{url}' is not encrypted; use https.")
    folder = cache_folder() / digest
    with _alone(folder):
        if known := sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
            return known[0]
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "sclamp"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                if answer.status != _OK:
                    raise UserError(f"{key}: '{url}' gave no file (answer {answer.status}); try again later.")
                return _fetched(answer, url, digest, folder, key)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"{key}: '{url}' cannot be downloaded ({getattr(error, 'reason', error)}).") from error


def _fetched(answer: Any, url: str, digest: str, folder: Path, key: str) -> Path:
    """Write what a server sends, verify it, keep it."""
    target, found = folder / _name(answer, url), hashlib.sha256()
    with written_aside(target) as aside:
        with open(aside, "wb") as file:
            for piece in _pieces(answer, url, key):
                found.update(piece)
                file.write(piece)
        if found.hexdigest() != digest:
            raise UserError(
                f"{key}: '{url}' has the sha256 {found.hexdigest()}, the configuration says {digest}; "
                "nothing was kept. If you trust this file, put its digest into your configuration."
            )
    return target


def _name(answer: Any, url: str) -> str:
    """The file's name: as the server says, else as in the address, before or after redirections."""
    addresses = [urlsplit(address).path for address in (answer.geturl(), url)]
    names = [answer.headers.get_filename() or "", *(unquote(path) for path in addresses)]
    names = [PurePosixPath(name.replace("\\", "/")).name.lstrip(".") for name in names]
    with_extension = [name for name in names if PurePosixPath(name).suffix]
    return next(iter([*with_extension, *filter(None, names)]), "download")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in this folder, so that a large file is not downloaded twice at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder that you may write to"
        raise UserError(f"{folder}: no permission to keep downloads here ({error.strerror}); {hint}.") from error
    with handle:
        with contextlib.suppress(OSError):  # a file system without locks: at worst it is downloaded twice
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _pieces(answer: IO[bytes], url: str, key: str) -> Iterator[bytes]:
    """The answer in pieces of 1 MB; fewer bytes than announced are an error."""
    announced = int(getattr(answer, "headers", {}).get("Content-Length") or 0)
    came = 0
    for piece in progress(iter(lambda: answer.read(_PIECE), b""), max(announced // _PIECE, 1), f"download {url}", "MB"):
        came += len(piece)
        yield piece
    if announced and came != announced:
        raise UserError(f"{key}: the download of '{url}' broke off after {came} of {announced} bytes.")


def member_of(archive: str | Path, member: str) -> Path:
    """Return a file of a zip archive, unpacked once into the cache. member: its name, or the end of its path.

    Errors: no zip archive, a damaged one, no such file in it or several.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = [name for name in opened.namelist() if not name.endswith("/")]
            found = [name for name in files if name == member] or [n for n in files if n.endswith(f"/{member}")]
            if not found:
                raise UserError(f"{archive}: {unknown('member: file', member, files)}")
            if len(found) > 1:
                raise UserError(f"{archive}: member '{member}' fits {len(found)} files: {', '.join(found[:5])}.")
            folder = cache_folder() / sha256(archive) / "members"
            target = folder / PurePosixPath(found[0]).name
            with _alone(folder):
                if not target.is_file():
                    with written_aside(target) as aside, opened.open(found[0]) as inside, open(aside, "wb") as file:
                        shutil.copyfileobj(inside, file, _PIECE)
            return target
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive}: no zip archive, or a damaged one ({error}).") from error
