"""Downloads from a server on this machine."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sclamp.config.datasets import Dataset
from sclamp.core.download import download, member_of
from sclamp.core.errors import UserError
from sclamp.data.sources import open_source

CONTENT: dict[str, bytes] = {}
REQUESTS: list[str] = []
MOVED: dict[str, str] = {}
NAMED: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        REQUESTS.append(self.path)
        if self.path in MOVED:
            self.send_response(302)
            self.send_header("Location", MOVED[self.path])
            self.end_headers()
            return
        body = CONTENT.get(self.path.removesuffix("?cut"))
        if body is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(202 if self.path == "/busy" else 200)
        if self.path in NAMED:
            self.send_header("Content-Disposition", f'attachment; filename="{NAMED[self.path]}"')
        self.send_header("Content-Length", str(len(body) + 1000 * self.path.endswith("?cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    REQUESTS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock"]


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
        ("/busy", r"gave no file \(answer 202\); try again later"),
    ],
)
def test_a_failed_download_keeps_nothing(server, tmp_path, address, message):
    CONTENT.update({"/x": b"12345", "/busy": b""})
    with pytest.raises(UserError, match=message):
        download(f"{server}{address}", "0" * 64)
    assert not kept(tmp_path)


@pytest.mark.parametrize("how", ["redirected", "named by the server"])
def test_a_file_is_named_as_its_server_names_it(server, tmp_path, raw, raw_file, how):
    CONTENT["/store/Human%20cells.h5ad"] = CONTENT["/files/7"] = raw_file().read_bytes()
    MOVED.clear()
    if how == "redirected":
        MOVED["/files/7"] = "/store/Human%20cells.h5ad"
    else:
        NAMED["/files/7"] = "../../Human cells.h5ad"
    settings = Dataset(path=f"{server}/files/7", sha256=digest(CONTENT["/files/7"]))
    with open_source(settings) as source:
        assert source.shape == raw.shape
    assert [path.name for path in kept(tmp_path)] == ["Human cells.h5ad"]


def test_two_at_once_download_one_file(server, tmp_path):
    CONTENT["/big.bin"] = bytes(5_000_000)
    wanted = digest(CONTENT["/big.bin"])
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: download(f"{server}/big.bin", wanted), range(2))
    assert first == second and REQUESTS == ["/big.bin"]


def test_a_member_of_an_archive_is_unpacked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside/genes.csv", "gene,a\nA,1\n")
        file.writestr("one/x.txt", "1")
        file.writestr("two/x.txt", "2")
    found = member_of(archive, "genes.csv")
    assert found.read_text() == "gene,a\nA,1\n" and member_of(archive, "inside/genes.csv") == found
    with pytest.raises(UserError, match=r"member: file 'gene\.csv' does not exist.*Known: inside/genes\.csv"):
        member_of(archive, "gene.csv")
    with pytest.raises(UserError, match=r"member 'x\.txt' fits 2 files: one/x\.txt, two/x\.txt"):
        member_of(archive, "x.txt")
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"x\.zip: no zip archive, or a damaged one"):
        member_of(archive, "genes.csv")


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"'http://127\.0\.0\.1:9/x' cannot be downloaded"):
        download("http://127.0.0.1:9/x", "0" * 64)


def test_plain_http_to_other_machines_is_refused():
    with pytest.raises(UserError, match=r"'http://example\.org/x' is not encrypted; use https"):
        download("http://example.org/x", "0" * 64)
