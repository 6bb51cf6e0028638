"""Files behind an https address: downloaded aside, verified, kept in a cache under their digest."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from sclamp.core.errors import UserError
from sclamp.core.files import written_aside
from sclamp.core.progress import progress

_PIECE = 1 << 20
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/sclamp, by default ~/.cache/sclamp."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sclamp" / "downloads"


def download(url: str, digest: str) -> Path:
    """Return the local copy of `url` whose sha256 is `digest`; downloads it only once.

    Errors: plain http to another machine, no answer, a download that breaks off, a file with another digest (which is
    not kept).
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise UserError(f"path: '{url}' is not encrypted; use https.")
    name = PurePosixPath(parts.path).name or "download"
    target = cache_folder() / digest / name
    if target.is_file():
        return target
    found = hashlib.sha256()
    with written_aside(target) as aside:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, open(aside, "wb") as file:
                for piece in _pieces(answer, url):
                    found.update(piece)
                    file.write(piece)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"path: '{url}' cannot be downloaded ({getattr(error, 'reason', error)}).") from error
        if found.hexdigest() != digest:
            raise UserError(
                f"path: '{url}' has the sha256 {found.hexdigest()}, the configuration says {digest}; nothing was kept."
            )
    return target


def _pieces(answer: IO[bytes], url: str) -> Iterator[bytes]:
    """The answer in pieces of 1 MB; fewer bytes than announced are an error."""
    announced = int(getattr(answer, "headers", {}).get("Content-Length") or 0)
    came = 0
    for piece in progress(iter(lambda: answer.read(_PIECE), b""), max(announced // _PIECE, 1), f"download {url}", "MB"):
        came += len(piece)
        yield piece
    if announced and came != announced:
        raise UserError(f"path: the download of '{url}' broke off after {came} of {announced} bytes.")
