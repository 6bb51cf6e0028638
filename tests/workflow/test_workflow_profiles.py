"""Profiles and what jobs ask for."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from sclamp.resources import input_mb, memory, minutes
from sclamp.workflow import plan

ROOT = Path(__file__).resolve().parents[2]


def link(config_home: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"XDG_CONFIG_HOME": str(config_home)}
    command = ["make", "slurm-profile"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_slurm_profile_is_linked_once_and_overwrites_nothing(tmp_path):
    target = tmp_path / "snakemake/slurm"
    assert link(tmp_path).returncode == 0
    assert target.resolve() == ROOT / "profiles/slurm"
    assert "in place" in link(tmp_path).stdout
    target.unlink()
    target.mkdir()
    (target / "config.yaml").write_text("mine: true\n", encoding="utf-8")
    refused = link(tmp_path)
    assert refused.returncode != 0
    assert "exists and is not ours" in refused.stderr
    assert (target / "config.yaml").read_text(encoding="utf-8") == "mine: true\n"


def test_retries_stand_in_the_slurm_profile_only():
    assert yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))["retries"] >= 1
    rules = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")]
    assert not any("retries" in text for text in rules)


def profile(name):
    return yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text(encoding="utf-8"))


def test_the_profiles_for_clusters_name_rules_that_exist_and_group_them_alike():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):|^use rule \w+ as (\w+) with:", text, re.MULTILINE))
    names = {name for pair in rules for name in pair if name}
    slurm, lsf = profile("slurm"), profile("lsf")
    assert set(slurm["groups"]) <= names
    assert set(slurm["set-resources"]) == set(lsf["set-resources"]) <= names
    for key in ("groups", "group-components", "resources", "set-resource-scopes"):
        assert slurm[key] == lsf[key]
    assert set(slurm["group-components"]) <= set(slurm["groups"].values())


@pytest.mark.workflow
@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_profiles_for_clusters_ask_for_gpus_for_trainings_only(fresh, config, scheduler):
    said = fresh.snakemake("--dry-run", "--profile", f"profiles/{scheduler}", config=config)
    partition = {"slurm": "slurm_partition", "lsf": "lsf_queue"}[scheduler]
    asked = set()
    for block in re.split(r"\n\s*(?=(?:local)?rule \w+:)", said)[1:]:
        rule, resources = re.match(r"(?:local)?rule (\w+):", block)[1], re.search(r"resources: (.*)", block)
        if resources and partition in resources[1]:
            asked.add((rule, re.search(rf"{partition}=(\w+)", resources[1])[1], "gpu=1" in resources[1]))
            assert "mem_mb=<TBD>" not in resources[1]
    on_gpu = {rule for rule, place, gpu in asked if place == "gpu" and gpu}
    assert on_gpu == {"train_model", "train_left_out"}
    assert all(not gpu for rule, place, gpu in asked if place != "gpu")
    assert len(asked) > 20
    if scheduler == "lsf":
        assert said.count("lsf_extra=-gpu num=1:mode=exclusive_process") >= 2


@pytest.fixture
def doubled(tmp_path):
    (tmp_path / "raw.h5ad").write_bytes(bytes(100_000))
    return plan(
        {
            "datasets": {"d": {"path": str(tmp_path / "raw.h5ad")}},
            "models": {"m": {"mode": "pca"}},
            "resources": {"memory_scale": 2.0, "runtime_scale": 3.0},
        }
    )


def file_of(path, megabytes):
    with open(path, "wb") as file:
        file.truncate(int(megabytes * 1e6))
    return str(path)


def test_memory_and_time_grow_with_data_attempt_and_scale(doubled, tmp_path):
    mem_mb, runtime = memory(doubled, base=1000, per_input_mb=2), minutes(doubled, base=10, per_input_gb=5)
    small = [file_of(tmp_path / "a", 60), file_of(tmp_path / "b", 40)]
    large = [file_of(tmp_path / "c", 4000)]
    anywhere = SimpleNamespace()
    assert mem_mb(anywhere, small, 1) == (1000 + 2 * 100) * 2
    assert mem_mb(anywhere, large, 1) == (1000 + 2 * 4000) * 2
    assert mem_mb(anywhere, small, 3) == (1000 + 2 * 100) * 2 * 2
    assert runtime(anywhere, large, 1) == (10 + 5 * 4) * 3 + 1
    assert runtime(anywhere, large, 2) == (10 + 5 * 4) * 3 * 2 + 1


def test_counts_that_are_yet_to_be_made_are_as_large_as_the_users_files(doubled, tmp_path):
    here, absent = file_of(tmp_path / "here.parquet", 1), str(tmp_path / "cells.h5ad")
    of_dataset = SimpleNamespace(dataset="d")
    assert input_mb(doubled, of_dataset, [here, absent]) == pytest.approx(1.1)
    assert input_mb(doubled, of_dataset, [here, str(tmp_path / "scores.parquet")]) == pytest.approx(1.0)
    assert input_mb(doubled, SimpleNamespace(), [here, absent]) == pytest.approx(1.0)
