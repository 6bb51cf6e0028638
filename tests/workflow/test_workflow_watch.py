"""What is seen of a workflow while it runs: on its own terminal, and in a second one."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import on_a_terminal

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

MINI = """
import sys
sys.path.insert(0, {scripts!r})
from sclamp.watch.hooks import Watch
WATCH = Watch(logger)
rule all:
    input: "fine", "silent"
rule silent:
    output: "silent"
    log: "logs/silent.log"
    shell: "exit 3 > {{log}} 2>&1"
rule fine:
    output: "fine"
    log: "logs/fine.log"
    shell: "for i in 1 2 3 4 5 6; do echo step $i of 6; sleep 0.5; done > {{log}} 2>&1; touch {{output}}"
onstart: WATCH.begins()
onerror: WATCH.failed(workflow.dag_settings.targets, ["all"], "")
"""


@pytest.mark.workflow
def test_on_a_terminal_running_jobs_and_their_last_lines_are_shown_and_taken_away_again(tmp_path):
    (tmp_path / "Snakefile").write_text(MINI.format(scripts=str(SCRIPTS)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "3", "fine", "silent", "--keep-going"]
    said = on_a_terminal(command, tmp_path)
    shown = re.findall(r"--- 0 of 2 jobs done(, 1 failed)?, 1 running, for \d+ s\r\n  fine: step \d of 6\r\n", said)
    assert len(shown) >= 2
    assert shown[-1] == ", 1 failed"
    drawn = said.count("jobs done")
    assert said.count("\x1b[2A") >= drawn  # each block is taken away: by the next one, or before Snakemake prints
    assert re.search(r"1 job failed; 1 job ended well\.\r\n", said.rpartition("\x1b[2A")[2])


def test_watch_shows_jobs_that_run_and_leaves_out_those_that_ended_or_are_long_gone(tmp_path):
    run = tmp_path / "results/datasets/one/models/direct/seed_1/logs"
    run.mkdir(parents=True)
    for name, age in (("train", 0), ("export", 0), ("umap", 7200), ("neighbors", 300)):
        (run / f"{name}.log").write_text(f"first\n{name}: 40% done\n", encoding="utf-8")
        os.utime(run / f"{name}.log", (time.time() - age,) * 2)
    (run / "export.benchmark.tsv").write_text("s\n", encoding="utf-8")
    command = [sys.executable, str(SCRIPTS / "watch.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "one/direct/seed_1 neighbors: neighbors: 40% done (5 min ago)",
        "one/direct/seed_1 train: train: 40% done",
    ]
    none = subprocess.run([*command, "--minutes", "0"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert none.stdout.startswith("No job under results has said anything in the last 0 minutes")
    lost = subprocess.run([*command, "result"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert lost.returncode == 1
    assert "results: result is no folder; give the `output` of your configuration." in lost.stderr


def test_watch_renews_its_lines_on_a_terminal(tmp_path):
    (tmp_path / "results/logs").mkdir(parents=True)
    (tmp_path / "results/logs/summary.log").write_text("bootstrap: 3 of 20\n", encoding="utf-8")
    watch = [sys.executable, str(SCRIPTS / "watch.py"), "--seconds", "0.2"]
    said = on_a_terminal(["timeout", "--foreground", "--signal=INT", "3", *watch], tmp_path)
    assert said.count("summary: bootstrap: 3 of 20\r\n") > 3
    assert said.count("\x1b[1A\r\x1b[J") > 3
    assert "Traceback" not in said
