"""The RO-Crate of results: what the specification demands, what is in it, and that equal results give equal bytes."""

import base64
import hashlib
import json
import os
import runpy
import sys
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

from sclamp.core.files import sha256

ROOT = Path(__file__).resolve().parents[2]
MODEL = "results/datasets/one/models/pca/seed_1/model.pt"


@pytest.fixture
def pack(small, capsys, monkeypatch):
    """Call the script in the small project, with settings: exit status and complaints."""

    def call(*arguments, **settings):
        words = [
            "--results",
            "results",
            "--workflow",
            str(ROOT),
            "--output",
            "crate.zip",
            "--config",
            '{"title": "Small"}',
        ]
        monkeypatch.setattr(sys, "argv", ["export_crate.py", *words, "--settings", json.dumps(settings), *arguments])
        status = 0
        try:
            runpy.run_path(str(ROOT / "scripts/export_crate.py"), run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err

    return call


def entities():
    with zipfile.ZipFile("crate.zip") as archive:
        content = json.loads(archive.read("ro-crate-metadata.json"))
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    found = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(found) == len(content["@graph"]), "an id occurs twice"
    return found


def ids(value):
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


def test_the_demands_of_the_specification(pack):
    assert pack()[0] == 0
    found = entities()
    descriptor, root = found["ro-crate-metadata.json"], found["./"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert "https://w3id.org/ro/crate/1.1" in ids(descriptor["conformsTo"])
    assert root["@type"] == "Dataset" and root["name"] == "Small" and root["description"]
    assert root["datePublished"] == "1980-01-01" and found[root["license"]["@id"]]["name"] == "None chosen"
    for entity in found.values():  # every reference leads to an entity, or away from the crate
        for value in entity.values():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, dict):
                    assert set(each) == {"@id"}
                    assert each["@id"] in found or each["@id"].startswith("http"), each
    with zipfile.ZipFile("crate.zip") as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        for path in ids(root["hasPart"]):
            types = found[path]["@type"]
            assert "File" in types and hashlib.sha256(archive.read(unquote(path))).hexdigest() == found[path]["sha256"]
    assert {unquote(path) for path in ids(root["hasPart"])} == names - {"ro-crate-metadata.json"}


def test_the_demands_of_the_workflow_run_profile(pack):
    pack()
    found = entities()
    workflow = found[found["./"]["mainEntity"]["@id"]]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert found[workflow["programmingLanguage"]["@id"]]["@type"] == "ComputerLanguage"
    assert {"https://w3id.org/ro/wfrun/workflow/0.5", "https://w3id.org/ro/wfrun/process/0.5"} <= set(
        ids(found["./"]["conformsTo"])
    )
    actions = [found[each] for each in ids(found["./"]["mentions"])]
    assert {action["@type"] for action in actions} == {"CreateAction"}
    assert all(action["instrument"]["@id"] in found for action in actions)
    assert found["#run"]["instrument"] == {"@id": "Snakefile"} and len(ids(found["#run"]["result"])) == 12
    assert {"#python-3.11.7", "#numpy-2.4.6"} <= set(ids(workflow["softwareRequirements"])) or sys.version_info[:3] != (
        3,
        11,
        7,
    )


def test_each_call_of_a_script_and_its_files(pack):
    pack()
    found = entities()
    calls = {each["instrument"]["@id"]: each for each in found.values() if each["@type"] == "CreateAction"}
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256("one.csv"))).decode().rstrip("=")
    assert ids(calls["scripts/prepare_cells.py"]["object"]) == [f"ni:///sha-256;{digest}"]
    assert found[f"ni:///sha-256;{digest}"]["name"] == "one.csv"  # your own data are named, and stay out
    assert ids(calls["scripts/plot_scores.py"]["result"]) == [f"results/figures/one/scores.{e}" for e in ("png", "svg")]
    trained = calls["scripts/train_model.py"]
    assert trained["description"].startswith("device cpu, seed 1, threads 2; settings {")
    assert '"latent_dim": 7' in trained["description"]
    (model,) = ids(trained["result"])
    assert found[model]["comment"] == "Not in this crate: models are left out." and model.startswith("ni:")
    assert found["results/summary/scores.parquet"]["encodingFormat"][0] == "application/vnd.apache.parquet"
    assert found["results/report.html"]["description"].endswith("opens offline, written by write_report.py.")


def test_models_sizes_licence_and_date_by_settings(pack):
    licence = "https://spdx.org/licenses/CC-BY-4.0"
    assert pack(models=True, max_file_mb=0.005, license=licence, published="2026-12-31")[0] == 0
    found = entities()
    assert found["./"]["license"] == {"@id": licence} and found["./"]["datePublished"] == "2026-12-31"
    assert MODEL in found and "results/figures/one/scores.png" in found
    left_out = [each["comment"] for each in found.values() if "comment" in each]
    assert left_out and all(comment.startswith("Not in this crate: 0 MB are more than 0.005") for comment in left_out)


def test_equal_results_give_equal_bytes_anywhere_and_at_any_time(pack, fill_folder, tmp_path, monkeypatch):
    assert pack()[0] == 0
    first = Path("crate.zip").read_bytes()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    fill_folder(tmp_path / "elsewhere")
    assert Path.cwd() == tmp_path / "elsewhere" and pack()[0] == 0
    assert Path("crate.zip").read_bytes() == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    pack()
    assert entities()["./"]["datePublished"] == "2026-01-01"


def test_it_reads_as_a_crate_elsewhere(pack):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed: make test installs it")
    pack(models=True)
    crate = rocrate.ROCrate("crate.zip")
    assert crate.name == "Small" and crate.mainEntity.id == "Snakefile"
    assert "results/report.html" in {entity.id for entity in crate.data_entities}
    assert len([each for each in crate.get_entities() if each.type == "CreateAction"]) == 9


def test_results_that_do_not_hold_are_not_packed(pack):
    Path("one.csv").write_text("other\n", encoding="utf-8")
    status, err = pack()
    assert status == 1 and "one.csv: has changed since results/datasets/one/cells.h5ad was made of it" in err
    assert not Path("crate.zip").exists()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--results", "nothing"], {}, "--results: nothing is no folder."),
        (["--workflow", "results"], {}, "--workflow: there is no Snakefile in results."),
        (["--results", "empty"], {}, "empty: holds no results yet; run the workflow first."),
        ([], {"license": "MIT"}, "license"),
        ([], {"modles": True}, "did you mean 'models'?"),
    ],
)
def test_what_is_wrong_is_told(pack, arguments, settings, message):
    Path("empty").mkdir()
    status, err = pack(*arguments, **settings)
    assert status == 1 and message in err and "Traceback" not in err
