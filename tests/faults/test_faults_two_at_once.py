"""Two of a kind at the same time: workflows in one folder, trainings of one model, writers of one cache."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from fault_project import OUT
from jobs import digests, environment, run, workflow

KIND = "two at once"


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_second_workflow_in_a_folder_is_told_of_the_first(reference, project, trials):
    job = next(job for job in reference.jobs if job.rule == "train_model")
    (project.folder / job.outputs[0]).unlink()
    target = job.outputs[0]
    first = start(workflow(target), project.folder)
    locks = project.folder / ".snakemake/locks"
    while not (locks.is_dir() and list(locks.iterdir())):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # so that the second one surely comes in between
    second = start(workflow(target, "--forcerun", "train_model"), project.folder)
    said = second.communicate(timeout=300)[0]
    first.send_signal(signal.SIGCONT)
    told = first.communicate(timeout=300)[0]
    assert second.returncode == 1, said
    assert "Directory cannot be locked" in said
    assert "--unlock" in said
    assert first.returncode == 0, told
    assert digests(project.folder / OUT) == reference.digests
    trials.survived(KIND, "workflows")


def test_a_job_run_twice_at_once_gives_one_whole_result(reference, project, trials, whole):
    """As when the jobs of a workflow that died are still running while it is started again."""
    jobs = {job.rule: job for job in reference.jobs}
    for rule in ["train_model", *[rule for rule in jobs if rule != "train_model"][:: 4 if whole else 99]]:
        for path in jobs[rule].outputs:
            (project.folder / path).unlink()
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: run(jobs[rule].spoken, project.folder), range(2)))  # noqa: B023
        found = digests(project.folder / OUT)
        if any(done.returncode for done in both) or found != reference.digests:
            wrong = sorted(k for k in {**found, **reference.digests} if found.get(k) != reference.digests.get(k))
            trials.lost(KIND, rule, f"wrong: {wrong}; " + "".join(done.stderr[-800:] for done in both))
        else:
            trials.survived(KIND, rule)


WRITE_CACHE = """
import sys, time
import numpy as np
from sclamp.priors.cache import VectorCache
folder, number, start = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
for part in range(20):
    cache = VectorCache(folder, "identity")  # reads what all others have written so far
    keys = [f"{i:064d}" for i in range(part * 10, part * 10 + 10)]
    cache.add(keys, np.arange(part * 10, part * 10 + 10)[:, None] * np.ones(50), [False] * 10)
    cache.flush()
"""


def test_writers_of_one_cache_leave_whole_parts(trials, tmp_path):
    from sclamp.priors.cache import VectorCache

    scripts = str(Path(__file__).resolve().parents[2] / "scripts")
    at = str(time.time() + 3)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_CACHE, str(tmp_path), str(number), at],
            env=environment(PYTHONPATH=scripts), stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    said = [writer.communicate(timeout=300)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    cache = VectorCache(tmp_path, "identity")
    for i in range(200):
        np.testing.assert_array_equal(cache[f"{i:064d}"][0], np.full(50, i, np.float32))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.match("part-*.parquet")] == []
    trials.survived(KIND, "writers of a cache")


class Slow(SimpleHTTPRequestHandler):
    asked = 0

    def copyfile(self, source, outputfile):
        Slow.asked += 1
        while piece := source.read(100_000):
            outputfile.write(piece)
            time.sleep(0.02)

    def log_message(self, *_):
        pass


def test_one_download_for_all_who_want_it(trials, tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(1_000_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served/x.bin").write_bytes(content)
    scripts = str(Path(__file__).resolve().parents[2] / "scripts")
    code = "import sys; from sclamp.core.download import download; print(download(*sys.argv[1:]))"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Slow, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        asked = (f"http://127.0.0.1:{server.server_port}/x.bin", hashlib.sha256(content).hexdigest())
        more = environment(PYTHONPATH=scripts, XDG_CACHE_HOME=str(tmp_path / "cache"))
        command = [sys.executable, "-c", code, *asked]
        all_of_them = [
            subprocess.Popen(command, env=more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        said = [one.communicate(timeout=300) for one in all_of_them]
        server.shutdown()
        thread.join()
    assert [one.returncode for one in all_of_them] == [0, 0, 0], said
    paths = {Path(out.splitlines()[-1]) for out, _ in said}
    assert [path.read_bytes() == content for path in paths] == [True]
    assert Slow.asked == 1
    assert list((tmp_path / "cache").rglob("*.tmp")) == []
    trials.survived(KIND, "downloads")


def test_a_writer_does_not_remove_what_another_is_writing(trials, tmp_path):
    from sclamp.core.files import write_json

    code = (
        "import sys, time; from pathlib import Path; from sclamp.core.files import written_aside\n"
        "with written_aside(sys.argv[1]) as aside:\n"
        "    aside.write_text('whole'); Path(sys.argv[2]).touch(); sys.stdin.read()\n"
    )
    scripts = str(Path(__file__).resolve().parents[2] / "scripts")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "slow.txt"), str(tmp_path / "started")],
        stdin=subprocess.PIPE, env=environment(PYTHONPATH=scripts), text=True,
    ) as slow:  # fmt: skip
        while not (tmp_path / "started").exists():
            assert slow.poll() is None
            time.sleep(0.02)
        write_json(tmp_path / "other.json", 1)
        slow.communicate("", timeout=60)
    assert slow.returncode == 0
    assert (tmp_path / "slow.txt").read_text(encoding="utf-8") == "whole"
    trials.survived(KIND, "writers in one folder")
