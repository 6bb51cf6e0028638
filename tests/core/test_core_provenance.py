"""What is kept about where an artefact comes from, and the threads that its numbers depend on."""

import os
import re

import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import sha256
from sclamp.core.provenance import beside, names_apart, provenance
from sclamp.core.threads import LIBRARIES, fix_threads


def test_inputs_of_one_name_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [f"results/{d}/models/{m}/seed_1/scores.parquet" for d in ("a", "b") for m in ("pca", "vae")]
    for number, path in enumerate([*paths, "markers.tsv"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(str(number))
    inputs = provenance("x.py", {}, [*paths, "markers.tsv"])["inputs"]
    names = [f"{d}/models/{m}/seed_1/scores.parquet" for d in ("a", "b") for m in ("pca", "vae")]
    assert list(inputs) == [*names, "markers.tsv"]
    assert list(inputs.values()) == [sha256(path) for path in [*paths, "markers.tsv"]]


def test_names_do_not_tell_where_the_project_lies(tmp_path, monkeypatch):
    names = []
    for place in ("one/project", "other"):
        folder = tmp_path / place
        (folder / "results").mkdir(parents=True)
        monkeypatch.chdir(folder)
        paths = [folder / "text.parquet", "results/text.parquet", "results/../results/genes.parquet"]
        names.append(list(names_apart(paths).values()))
    assert names[0] == names[1] == ["text.parquet", "results/text.parquet", "genes.parquet"]


def test_a_file_given_twice_counts_once(tmp_path):
    (tmp_path / "a").write_text("1")
    assert list(names_apart([tmp_path / "a", str(tmp_path / "a")]).values()) == ["a"]
    assert beside(tmp_path / "a") == {"a": sha256(tmp_path / "a")}


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({}, "1"),
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"SCLAMP_THREADS": "2", "OMP_NUM_THREADS": "1"}, "2"),
        ({"SCLAMP_THREADS": "", "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "8"}, "4"),
    ],
)
def test_threads_are_those_asked_for_and_not_what_the_machine_offers(given, threads):
    environment = dict(given)
    fix_threads(environment)
    assert {environment[name] for name in LIBRARIES} == {threads}
    assert environment["MKL_DYNAMIC"] == environment["OMP_DYNAMIC"] == "FALSE"


@pytest.mark.parametrize("name", ["SCLAMP_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_wrong_number_of_threads_is_named(name, value):
    message = f"{name}: a number of threads, 1 or more, is expected, found '{value}'."
    with pytest.raises(UserError, match=re.escape(message)):
        fix_threads({name: value})
    assert os.environ.get(name) != value
