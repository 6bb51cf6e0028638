"""The last words of a workflow that failed, and of one that did not; real jobs that end in every way they can."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Small rules in place of ours: what counts is how they end and what their logs say.
MINI = """
import sys
sys.path.insert(0, {scripts!r})
from sclamp.watch.hooks import Watch
WATCH = Watch(logger)
wildcard_constraints:
    n=r"\\d+"
rule all:
    input:
        expand("results/bad_{{n}}", n=range(6)), "results/killed", "results/full", "results/lost", "results/bug",
        "results/silent", "results/memory", "results/stopped", "results/after", "results/fine",
rule bad:
    output: "results/bad_{{n}}"
    log: "logs/bad_{{n}}.log"
    shell: "(echo 'reading'; echo 'train_model.py: 2 problems'; echo '  - {{wildcards.n}}.h5ad: no counts.';"
           " echo '  - label: kind is missing.'; exit 1) > {{log}} 2>&1"
rule killed:
    output: "results/killed"
    log: "logs/killed.log"
    shell: "{python} -c 'import os; print(\\"epoch 3/10\\", flush=True); os.kill(os.getpid(), 9)' > {{log}} 2>&1"
rule full:
    output: "results/full"
    log: "logs/full.log"
    shell: "{python} -c 'import os; os.write(os.open(\\"/dev/full\\", 1), b\\"x\\")' > {{log}} 2>&1"
rule lost:
    output: "results/lost"
    log: "logs/lost.log"
    shell: "true > {{log}} 2>&1"
rule bug:
    output: "results/bug"
    log: "logs/bug.log"
    shell: "{python} -c '1/0' > {{log}} 2>&1"
rule silent:
    output: "results/silent"
    log: "logs/silent.log"
    shell: "exit 3 > {{log}} 2>&1"
rule memory:
    output: "results/memory"
    log: "logs/memory.log"
    shell: "{python} -c 'import numpy; numpy.empty(10**17)' > {{log}} 2>&1"
rule stopped:
    output: "results/stopped"
    log: "logs/stopped.log"
    shell: "{python} -c 'import os; os.kill(os.getpid(), 15)' > {{log}} 2>&1"
rule after:
    input: "results/bad_1", "results/killed"
    output: "results/after"
    log: "logs/after.log"
    shell: "touch {{output}}"
rule fine:
    output: "results/fine"
    log: "logs/fine.log"
    shell: "for i in 1 2 3 4 5 6; do echo step $i of 6; sleep 0.5; done > {{log}} 2>&1; touch {{output}}"
onstart: WATCH.begins()
onsuccess: WATCH.succeeded("results/fine")
onerror: WATCH.failed(workflow.dag_settings.targets, ["all"], "")
"""


@pytest.fixture
def mini(tmp_path):
    """A folder with a Snakefile of rules that fail; returns a function that runs it."""
    (tmp_path / "Snakefile").write_text(MINI.format(scripts=str(SCRIPTS), python=sys.executable), encoding="utf-8")

    def call(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "3", "--latency-wait", "1", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stderr

    return call


def summary(output):
    """What stands between the two rules at the end."""
    parts = re.split(r"^-{100}$", output, flags=re.MULTILINE)
    assert len(parts) >= 3, output
    return parts[-2]


def block(text, job):
    """The paragraph about the cause whose first job this is."""
    return next(part for part in text.split("\n\n") if re.match(rf"\s*\d+\. {job}\b", part))


def test_each_cause_is_told_once_with_what_to_do(mini):
    text = summary(mini("--keep-going"))
    assert "13 jobs failed, for 8 reasons; 1 job ended well; 1 job is still to be done: 1 after." in text
    bad = block(text, "bad")
    assert "1. bad (n=0)\n   and bad (n=1)\n   and bad (n=2)\n   and bad (n=3)\n   and 2 more\n" in bad
    assert "   why: 0.h5ad: no counts.\n        label: kind is missing.\n   do:  correct what is named above" in bad
    assert "log: logs/bad_0.log" in bad
    assert re.search(r"only this job: \S*python\S* -m snakemake results/bad_0 --cores 3 --latency-wait 1", bad)
    assert "killed by the system (SIGKILL), most often because memory ran out" in block(text, "killed")
    assert "memory_scale: 2" in block(text, "killed")
    assert "why: the disk is full\n        OSError: [Errno 28] No space left on device" in block(text, "full")
    assert "free some space" in block(text, "full")
    assert "the job ended well, but its files are not there" in block(text, "lost")
    assert "--latency-wait" in block(text, "lost")
    assert 'why: ZeroDivisionError: division by zero\n        File "<string>", line 1, in <module>' in block(
        text, "bug"
    )
    assert "please report it with the log" in block(text, "bug")
    assert "why: no words in its log; exit status 3" in block(text, "silent")
    assert "why: out of memory\n        numpy._core._exceptions._ArrayMemoryError: Unable to allocate" in block(
        text, "memory"
    )
    assert "why: stopped from outside" in block(text, "stopped")
    assert "a training goes on from where it was" in block(text, "stopped")
    assert "The same command goes on: finished work is kept" in text
    assert "\x1b" not in text


def test_without_keep_going_what_did_not_run_is_counted_too(mini):
    text = summary(mini("results/killed", "results/after", "results/fine", "--cores", "1"))
    assert "1 job failed; " in text
    assert re.search(r"\d+ jobs? (is|are) still to be done: .*1 after", text)
    assert "only this job" in text
    again = re.search(r"only this job: (.*)", text)[1]
    assert "results/after" not in again
    assert "results/killed" in again or "results/bad_1" in again


def test_the_end_of_a_run_that_made_the_report_names_it_and_no_other_end_does(mini, tmp_path):
    said = mini("results/fine")
    assert re.search(rf"Done in \d+ s. Open the report in a browser: file://{tmp_path}/results/fine\n", said)
    assert "Open the report" not in mini("results/fine")
    assert "Open the report" not in mini("results/fine", "--dry-run", "--forceall")


def test_real_failures_of_real_rules(fresh, config):
    (fresh.folder / "two.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    config["datasets"]["two"] = {"path": "two.h5ad", "label": "kind"}
    config["models"] = {"nan": {"mode": "beta_vae", "learning_rate": 1e30}, "pca": {"mode": "pca", "latent_dim": 5000}}
    runs = "results/datasets/one/models"
    targets = [f"{runs}/nan/seed_1/cell_embedding.parquet", f"{runs}/pca/seed_1/model.pt"]
    said = fresh.snakemake(*targets, "results/datasets/two/checks.json", "--keep-going", config=config, check=False)
    text = summary(said)
    assert "3 jobs failed, for 3 reasons; 2 jobs ended well; 1 job is still to be done: 1 export_embeddings." in text
    nan = block(text, "train_model")
    assert nan.startswith("3. train_model (dataset=one, model=nan, seed=1)\n   why: loss: not finite in epoch 0, step ")
    assert "Try a lower learning_rate" in nan
    assert f"log: {runs}/nan/seed_1/logs/train.log" in nan
    assert re.search(rf"only this job: .*-m snakemake {runs}/nan/seed_1/model.pt --configfile mine.yaml --cores 2", nan)
    assert "   why: file two.h5ad: cannot be opened as HDF5" in block(text, "check_dataset")
    assert "latent_dim: " in block(text, "fit_model")
    assert "with the failed jobs' last lines: results/report.html" in text
    assert "learning_rate" in (fresh.folder / "results/report.html").read_text(encoding="utf-8")
    alone = re.search(r"only this job: (.*)", nan)[1].split()[3:]
    assert len(re.findall(r"^rule ", fresh.snakemake("--dry-run", *alone), flags=re.MULTILINE)) == 1
