"""Gene priors behind an address or inside an archive, and texts in JSON."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from sclamp.config.gene_priors import FilePrior, TextPrior
from sclamp.core.errors import UserError
from sclamp.core.files import sha256
from sclamp.priors.files import file_vectors
from sclamp.priors.local import localized
from sclamp.priors.lookup import prior_names
from sclamp.priors.text import read_descriptions

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
VECTORS = {"INS": [1.0, 2.0], "GCG": [3.0, 4.0]}
TEXTS = {"INS": "insulin", "GCG": "glucagon", "XYZ": " "}


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A zip archive as GenePT publishes one: a pickle of gene -> list, and a JSON of gene -> text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "served" / "vectors.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("all/vectors.pickle", pickle.dumps(VECTORS))
        file.writestr("all/texts.json", json.dumps(TEXTS))
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def address(archive):
    handler = functools.partial(Quiet, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/vectors.zip"
        running.shutdown()
        thread.join()


def test_vectors_come_out_of_a_downloaded_archive(address, archive):
    settings = FilePrior(source="file", path=address, sha256=sha256(archive), member="vectors.pickle")
    assert prior_names(settings) is None  # a check downloads nothing
    genes = file_vectors(settings)
    assert dict(zip(genes.names.ids, genes.vectors.tolist(), strict=True)) == VECTORS


def test_texts_come_out_of_the_same_archive(archive):
    settings = TextPrior(source="text", table=str(archive), sha256=sha256(archive), member="all/texts.json")
    names, texts = read_descriptions(settings)
    assert dict(zip(names.ids, texts, strict=True)) == {"INS": "insulin", "GCG": "glucagon"}  # XYZ has no text


def test_names_of_a_local_json_are_known(tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    names = prior_names(TextPrior(source="text", table=str(tmp_path / "texts.json")))
    assert names is not None and list(names.ids) == ["INS", "GCG"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"texts\.json: not valid JSON"),
        ("[1]", "a JSON object of gene -> description is expected"),
        ('{"INS": 1}', "a JSON object of gene -> description is expected"),
        ('{"INS": ""}', "holds no genes"),
    ],
)
def test_json_that_holds_no_texts(tmp_path, content, message):
    (tmp_path / "texts.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_descriptions(TextPrior(source="text", table=str(tmp_path / "texts.json")))


def test_an_address_needs_its_digest():
    for kind, key in ((FilePrior, "path"), (TextPrior, "table")):
        source = "file" if kind is FilePrior else "text"
        with pytest.raises(ValidationError, match=f"{key} 'https://x.org/v.csv' is an address: give its sha256, too"):
            kind.model_validate({"source": source, key: "https://x.org/v.csv"})


def test_a_local_archive_is_verified(archive):
    with pytest.raises(UserError, match=r"expected 0{64}: it is another file, or damaged"):
        localized(FilePrior(source="file", path=str(archive), sha256="0" * 64, member="vectors.pickle"))
    with pytest.raises(UserError, match=r"nowhere\.zip: no such file"):
        localized(TextPrior(source="text", table="nowhere.zip", sha256="0" * 64))


def test_the_script_records_the_address_and_the_file_that_was_read(address, archive, tmp_path):
    settings = {"source": "file", "path": address, "sha256": sha256(archive), "member": "vectors.pickle"}
    output = tmp_path / "prior.parquet"
    command = [sys.executable, SCRIPTS / "build_gene_prior.py", "--settings", json.dumps(settings)]
    subprocess.run([*command, "--output", output, "--sidecar", tmp_path / "prior.json"], check=True)
    origin = json.loads(pq.read_schema(output).metadata[b"sclamp"])
    assert origin["settings"]["path"] == address and set(origin["inputs"]) == {"vectors.pickle"}
    np.testing.assert_array_equal(pq.read_table(output)["embedding"].to_pylist(), list(VECTORS.values()))
