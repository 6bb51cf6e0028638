"""Downloads from a server on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data.download import download
from sclamp.data.sources import open_source

CONTENT: dict[str, bytes] = {}
REQUESTS: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        REQUESTS.append(self.path)
        body = CONTENT.get(self.path.removesuffix("?cut"))
        if body is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 1000 * self.path.endswith("?cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    REQUESTS.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once_and_read(server, tmp_path, raw, raw_file):
    CONTENT["/raw.h5ad"] = raw_file().read_bytes()
    settings = Dataset(path=f"{server}/raw.h5ad", sha256=digest(CONTENT["/raw.h5ad"]))
    for _ in range(2):
        with open_source(settings) as source:
            assert source.shape == raw.shape
    assert REQUESTS == ["/raw.h5ad"] and len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("/x", r"has the sha256 [0-9a-f]{64}, the configuration says 0{64}; nothing was kept"),
        ("/x?cut", "broke off after 5 of 1005 bytes"),
        ("/missing", r"cannot be downloaded \(Not Found\)"),
    ],
)
def test_a_failed_download_keeps_nothing(server, tmp_path, address, message):
    CONTENT["/x"] = b"12345"
    with pytest.raises(UserError, match=message):
        download(f"{server}{address}", "0" * 64)
    assert not kept(tmp_path)


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"'http://127\.0\.0\.1:9/x' cannot be downloaded"):
        download("http://127.0.0.1:9/x", "0" * 64)


def test_plain_http_to_other_machines_is_refused():
    with pytest.raises(UserError, match=r"'http://example\.org/x' is not encrypted; use https"):
        download("http://example.org/x", "0" * 64)
