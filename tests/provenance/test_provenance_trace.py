"""The command that follows artefacts back: what it finds, and what it says when something does not hold."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from sclamp.core.files import sha256, write_json, write_table
from sclamp.provenance.stored import provenance_in, reason_without

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RUN = Path("results/datasets/one/models/pca/seed_1")
ARTEFACTS = 12


@pytest.fixture
def trace(small, capsys, monkeypatch):
    """Call the script in the small project: its exit status, what it prints, what it complains of."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["trace_provenance.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(SCRIPTS / "trace_provenance.py"), run_name="__main__")
        except SystemExit as end:
            status = end.code
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def test_every_kind_of_file_gives_its_provenance(small):
    paths = [p for p in Path("results").rglob("*") if p.is_file() and p.suffix not in {".csv", ".txt", ".log"}]
    assert {p.suffix for p in paths} == {".parquet", ".h5ad", ".pt", ".json", ".png", ".svg", ".html"}
    assert all(provenance_in(path)["script"].endswith(".py") for path in paths)
    assert provenance_in(Path("results/report.html"))["settings"] == {"title": "<small>"}


def test_the_tree_goes_down_to_the_users_file(trace):
    status, out, err = trace("results/figures/one/scores.svg")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("scores.svg = results/figures/one/scores.svg  [")
    assert re.search(r"`-- one\.csv  \[[0-9a-f]{12}, verified, your own\]", out)
    assert "by train_model.py; code " in out and "seed 1, device cpu, threads 2" in out
    assert 'settings {"mode": "pca", "latent_dim": 7}' in out  # not what is at its default
    assert out.count("by train_model.py") == 1 and "verified, shown above]" in out
    assert "pca/seed_1/scores/integration.parquet = results" in out and "random/seed_1/scores" in out


def test_json_holds_the_whole_chain(trace):
    status, out, _ = trace(RUN / "cell_embedding.parquet", "--json")
    step = json.loads(out)
    assert status == 0 and step["sha256"] == sha256(RUN / "cell_embedding.parquet")
    model, counts = step["inputs"]
    assert model["provenance"]["settings"]["latent_dim"] == 7 and counts["name"] == "cells.h5ad"
    assert counts["inputs"][0] == {
        "name": "one.csv", "sha256": sha256("one.csv"), "state": "verified", "path": "one.csv"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["summary/scores.csv", "datasets/one/checks.txt"])
def test_files_that_hold_nothing_are_told_of_by_those_beside_them(trace, name):
    path = Path("results", name)
    status, out, _ = trace(path)
    assert status == 0 and f", as {path.stem}." in out
    path.write_text("edited\n", encoding="utf-8")
    status, _, err = trace(path)
    assert status == 1 and f"{path}: has changed since it was written along with {path.stem}." in err


def test_a_changed_a_renamed_and_a_missing_input(trace):
    table = RUN / "cell_embedding.parquet"
    table.rename(RUN / "embedding_of_cells.parquet")  # found by what it holds
    assert trace("results/summary/scores.parquet")[0] == 0
    Path("one.csv").write_text("other\n", encoding="utf-8")
    status, out, err = trace("results/summary/scores.parquet")
    assert status == 1 and "[" in out and "changed since]" in out
    assert "one.csv: has changed since results/datasets/one/cells.h5ad was made of it (sha256 was " in err
    Path("one.csv").unlink()
    status, out, err = trace("results/summary/scores.parquet")
    assert status == 1 and "missing]" in out
    assert "results/datasets/one/cells.h5ad: its input one.csv is missing (sha256 " in err


def test_a_moved_input_is_found_where_it_is_said_to_be(trace, tmp_path):
    Path("one.csv").rename(tmp_path / "elsewhere.csv")
    assert trace(RUN / "model.pt")[0] == 1
    status, out, _ = trace(RUN / "model.pt", "--inputs", tmp_path / "elsewhere.csv")
    assert status == 0 and f"one.csv = {tmp_path / 'elsewhere.csv'}" in out


def test_a_download_is_found_in_the_cache(trace, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "cache/sclamp/downloads" / sha256("one.csv") / "one.csv"
    place.parent.mkdir(parents=True)
    Path("one.csv").rename(place)
    status, out, _ = trace(RUN / "model.pt")
    assert status == 0 and f"one.csv = {place}" in out
    place.write_text("damaged", encoding="utf-8")
    assert trace(RUN / "model.pt")[0] == 1


def test_other_code_and_packages_are_told_and_no_failure(trace):
    path = RUN / "cell_embedding.parquet"
    origin = provenance_in(path) | {"code": "0" * 12, "versions": {"numpy": "1.0", "left-pad": "2.0"}}
    write_table(path, {"cell_id": ["a"]}, origin)
    status, out, _ = trace(path)
    assert status == 0
    assert "today: export_embeddings.py or what it imports has changed since" in out
    assert "today: numpy was 1.0, is " in out and "today: left-pad was 2.0, is not installed" in out
    write_table(path, {"cell_id": ["a"]}, origin | {"script": "gone.py"})
    assert "today: there is no script gone.py any more" in trace(path)[1]
    write_table(path, {"cell_id": ["a"]}, origin | {"code": ""})
    assert "today: the digest of its code was not noted" in trace(path)[1]


@pytest.mark.parametrize(
    "name",
    ["datasets/one/cells.h5ad", "summary/scores.parquet", "figures/one/scores.png", "datasets/one/checks.json",
     "datasets/one/models/pca/seed_1/model.pt", "report.html", "figures/one/scores.svg"],
)  # fmt: skip
def test_a_damaged_file_is_named(trace, name):
    path = Path("results", name)
    path.write_bytes(path.read_bytes()[:20])
    status, _, err = trace(path)
    assert status == 1 and re.search(rf"{path}: (cannot be read \(|does not tell where it comes from)", err)
    assert "Traceback" not in err


def test_all_artefacts_and_the_account_of_them(trace):
    status, out, err = trace("--all", "results", "--output", "results/provenance.json")
    assert (status, out) == (0, "")
    assert re.search(rf"results: {ARTEFACTS} artefacts, \d+ inputs, 1 of your own files; 0 artefacts are of other", err)
    first = Path("results/provenance.json").read_bytes()
    found = json.loads(first)
    assert found["problems"] == [] and found["own_files"] == {"one.csv": sha256("one.csv")}
    assert found["artefacts"]["summary/scores.csv"]["told_by"] == "scores.parquet"
    assert found["artefacts"]["datasets/one/models/pca/seed_1/model.pt"]["threads"] == 2
    trace("--all", "results", "--output", "results/provenance.json")
    assert Path("results/provenance.json").read_bytes() == first
    write_json("results/mine.json", {"a": 1})
    status, out, err = trace("--all", "results", "--json")
    assert status == 1 and "results/mine.json: does not tell where it comes from." in err
    assert json.loads(out)["problems"] == ["results/mine.json: does not tell where it comes from."]


def test_wrong_names_are_told_with_the_nearest(trace):
    status, _, err = trace("results/sumary/scores.parquet")
    assert status == 1 and "results/sumary/scores.parquet: no such file." in err
    assert "no such file; did you mean 'results/summary/scores.csv'?" in trace("results/summary/score.csv")[2]
    assert "no such folder; did you mean 'results'?" in trace("--all", "result")[2]
    assert "--inputs: nowhere: no such file or folder." in trace("--all", "results", "--inputs", "nowhere")[2]
    status, _, err = trace()
    assert status == 2 and "give an artefact, or --all and a results folder" in err


def test_what_needs_no_provenance_has_a_reason():
    assert reason_without("datasets/a/logs/x.log") and reason_without("provenance.json") == "made of all others"
    assert reason_without(".cache/texts/part.npz") and reason_without("datasets/a/models/m/seed_1/resume.pt")
    assert reason_without("datasets/a/cells.h5ad") is None and reason_without("notes.txt") is None
