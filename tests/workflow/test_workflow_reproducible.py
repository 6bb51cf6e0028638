"""The same configuration, data and seed give the same bytes anywhere; files tell where they come from."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from project import copy_project

from sclamp.config.registry import MODES, settings_class
from sclamp.core.files import write_embedding
from sclamp.provenance.stored import provenance_beside, provenance_in, reason_without

ROOT = Path(__file__).resolve().parents[2]
OF_TIMES = {"report.html", "figures/cost.png", "figures/cost.svg"}
"""Files that show run times, of which no two runs are equal."""
QUICK = {"direct"}
"""Modes that are tried without --all-trials."""

pytestmark = pytest.mark.workflow


def bytes_of(results, without=OF_TIMES):
    """Path -> sha256 of all result files."""
    names = {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}
    kept = {name: path for name, path in names.items() if reason_without(name) is None and name not in without}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}


@pytest.mark.xdist_group("finished")
def test_every_file_tells_where_it_comes_from(finished):
    results, without, kinds = finished.folder / "results", [], set()
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(path.relative_to(results))
        if reason_without(name) is None:
            found = provenance_in(path) or provenance_beside(path)[0]
            complete = {"format", "script", "settings", "inputs", "code", "versions"} <= found.keys()
            kinds.add(path.suffix)
            if not complete or not found["code"] or str(finished.folder) in json.dumps(found):
                without.append(name)
    assert without == []
    assert kinds == {".parquet", ".h5ad", ".pt", ".json", ".png", ".svg", ".html", ".csv", ".txt"}
    model = results / "datasets/one/models/direct/seed_1/model.pt"
    assert provenance_in(model).items() >= {"seed": 1, "device": "cpu", "threads": 1}.items()
    scores = provenance_in(results / "summary/scores.parquet")["inputs"]
    assert sum("integration.parquet" in name for name in scores) == len(list(results.rglob("integration.parquet")))


@pytest.mark.xdist_group("finished")
def test_the_account_and_the_crate_of_a_whole_run(finished, config):
    output = finished.snakemake("provenance", "crate", config=config)
    results = finished.folder / "results"
    assert "of your own files; 0 artefacts are of other code or packages than today's; no problems" in output
    account = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    assert set(account["own_files"]) == {"one.h5ad", "vectors.csv"} and account["problems"] == []
    with zipfile.ZipFile(results / "crate.zip") as archive:
        names = set(archive.namelist())
        described = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    assert {"results/report.html", "results/summary/scores.csv", "results/datasets/one/embedded.h5ad"} <= names
    assert {"Snakefile", "scripts/train_model.py", "config.json", "ro-crate-metadata.json"} <= names
    assert not any(name.endswith(".pt") for name in names)
    calls = [each for each in described if each["@type"] == "CreateAction"]
    assert sum(each["name"].startswith("train_model.py") for each in calls) >= 6  # four models, two without some genes
    for path in (results / "provenance.json", results / "crate.zip"):
        path.unlink()


@pytest.mark.xdist_group("finished")
def test_elsewhere_interrupted_on_one_core_in_another_locale(finished, config, tmp_path, request):
    (tmp_path / "a földer").mkdir()
    project = copy_project(tmp_path / "a földer")
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "LANG": "C"}
    run = "results/datasets/one/models/direct/seed_1"
    targets = [] if request.config.getoption("--all-trials") else [f"{run}/scores/reconstruction.parquet"]
    command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "1", *targets]
    call = {"cwd": project.folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command, **call)
    try:
        wait_for(project.folder / f"{run}/logs/train.log", first)
    finally:
        first.send_signal(signal.SIGTERM)
        first.wait(120)
    assert not (project.folder / targets[0]).exists() if targets else first.returncode
    done = subprocess.run([*command, "--rerun-incomplete"], **call, check=False)
    assert done.returncode == 0
    found, expected = bytes_of(project.folder / "results"), bytes_of(finished.folder / "results")
    assert f"{run}/cell_embedding.parquet".removeprefix("results/") in found
    assert {name for name, digest in found.items() if expected[name] != digest} == set()


def wait_for(path, process):
    """Until a file exists, or a process has ended."""
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.1)
    pytest.fail(f"{path} did not come")


@pytest.mark.parametrize("mode", MODES)
def test_two_threads_give_the_same_on_one_core_and_on_two(mode, tiny_counts, tiny_prior, tmp_path, request):
    if mode not in QUICK and not request.config.getoption("--all-trials"):
        pytest.skip("tried with --all-trials")
    counts = tiny_counts(n_cells=400, n_genes=1200)  # so large that sums are split among threads
    settings, more = settings_of(mode, tiny_prior, counts)
    cores, made = sorted(os.sched_getaffinity(0)), []
    for name, usable, threads in (("one", cores[:1], "1"), ("two", cores[:2], None)):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        environment |= {"SCLAMP_THREADS": "2"} | ({"OMP_NUM_THREADS": threads} if threads else {})
        command = [
            sys.executable, str(ROOT / "scripts/train_model.py"), "--counts", str(counts), *more,
            "--settings", json.dumps(settings), "--seed", "1", "--code", "same",
            "--model", str(tmp_path / name / "model.pt"), "--history", str(tmp_path / name / "history.parquet"),
        ]  # fmt: skip
        done = subprocess.run(
            ["taskset", "--cpu-list", ",".join(map(str, usable)), *command],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made.append([(tmp_path / name / file).read_bytes() for file in ("model.pt", "history.parquet")])
    assert made[0] == made[1]
    known = provenance_in(tmp_path / "one/model.pt")
    assert known["threads"] == 2 and known["device"] == "cpu"


def settings_of(mode, tiny_prior, counts):
    """Settings for a short training of a mode, and what else it must be given."""
    fields, more = settings_class(mode).model_fields, []
    settings = {"mode": mode} | {
        key: value for key, value in {"max_epochs": 1, "device": "cpu"}.items() if key in fields
    }
    own = MODES[mode].own_prior
    if "gene_priors" in fields or own:
        settings |= {} if own else {"gene_priors": ["text"]}
        more = ["--gene-prior", f"{own or 'text'}={tiny_prior([f'G{i:04d}' for i in range(1200)], width=64)}"]
    if mode in {"logistic_regression", "socam"}:
        path = counts.with_name("cell_embedding.parquet")
        ids = [f"cell{i}" for i in range(400)]
        write_embedding(path, "cell_id", ids, np.random.default_rng(0).normal(size=(400, 50)), {})
        settings |= {"embedding_of": "pca"}
        more = ["--embedding", str(path)]
    if mode == "socam":
        settings |= {"label_terms": {"alpha": "CL:0000171", "beta": "CL:0000169", "delta": "CL:0000173"}}
    return settings, more
