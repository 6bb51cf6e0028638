"""Which code counts into a rule's digest."""

import shutil

import pytest

import sclamp.digest as digest
from sclamp.config.registry import MODES


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A copy of scripts/ that `code_of` looks at."""
    shutil.copytree(digest.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "SCRIPTS", tmp_path / "scripts")
    forget()
    yield tmp_path / "scripts"
    forget()


def forget():
    for cached in (digest.code_of, digest.tree_of, digest._imported, digest._code):
        cached.cache_clear()


def all_digests():
    forget()
    found = {(path.name, None): digest.code_of(path.name) for path in sorted(digest.SCRIPTS.glob("*.py"))}
    return found | {("train_model.py", mode): digest.code_of("train_model.py", mode) for mode in MODES}


def changed(before):
    return {key for key, value in all_digests().items() if before[key] != value}


def test_comments_docstrings_and_layout_do_not_count(scripts):
    before = all_digests()
    for path in scripts.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text("# remark\n" + text.replace('"""', '"""Also: ', 1) + "\n\n\n", encoding="utf-8")
    assert changed(before) == set()


def test_a_model_file_counts_for_its_modes_only(scripts):
    before = all_digests()
    with open(scripts / "sclamp/models/pca.py", "a", encoding="utf-8") as file:
        file.write("\nX = 1\n")
    assert changed(before) == {("train_model.py", "pca"), ("train_model.py", "harmony"), ("train_model.py", "ppca")}


def test_a_registry_line_counts_for_its_mode_only(scripts, monkeypatch):
    before = all_digests()
    monkeypatch.setitem(MODES, "pca", digest.MODES["beta_vae"])
    assert changed(before) == {("train_model.py", "pca")}


def test_what_a_script_does_not_reach_does_not_count(scripts):
    before = all_digests()
    with open(scripts / "sclamp/plot/umap.py", "a", encoding="utf-8") as file:
        file.write("\nX = 1\n")
    assert changed(before) == {("plot_umap.py", None)}
