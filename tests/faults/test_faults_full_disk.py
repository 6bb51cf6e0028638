"""Disks that fill up: the message says so, nothing half written stays, and the same command needs only space."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from fault_project import OUT
from jobs import digests, one_of_each_rule, small_disk
from project import make_dataset
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.core.files import write_embedding, write_json, write_table, write_text

KIND = "disk full"
ROOM, PAGE = 64 * 1024, 4096
FULL = "the disk is full"


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", "64k") as resize:
        yield tmp_path / "disk", resize


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=n)


def table(path: Path) -> None:
    write_table(path, {"x": noise(30_000)}, {"seed": 1})


def embedding(path: Path) -> None:
    write_embedding(path, "cell_id", [f"c{i}" for i in range(3000)], noise(30_000).reshape(3000, 10), {})


def counts(path: Path) -> None:
    from sclamp.data.h5ad import counts_writer

    block = sparse.csr_matrix(np.random.default_rng(0).integers(0, 2, (500, 200)))
    obs, var = (pd.DataFrame(index=[f"{i}" for i in range(n)]) for n in block.shape)
    with counts_writer(path, obs, var, block.nnz, np.uint16, np.uint16, {"x": np.zeros((500, 9))}, {}) as writer:
        writer.append(block)


def model_file(path: Path) -> None:
    import torch

    from sclamp.train.checkpoint import save_plain

    save_plain(path, {"state": {"x": torch.from_numpy(noise(20_000))}})


def figure(path: Path) -> None:
    from sclamp.plot.style import new_figure, save

    drawn = new_figure(6, 6)
    drawn.add_subplot().imshow(noise(90_000).reshape(300, 300))
    save(drawn, path, 150)


def copied(path: Path, source: Path) -> None:
    from embed_cells import copy_with_embedding

    copy_with_embedding(source, path, "X_new", noise(240 * 4).reshape(240, 4))


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.json": partial(write_json, value=list(range(20_000))),
    "x.html": partial(write_text, text="words " * 40_000),
    "x.parquet": table,
    "embedding.parquet": embedding,
    "counts.h5ad": counts,
    "model.pt": model_file,
    "x.png": figure,
    "copy.h5ad": copied,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_says_that_the_disk_is_full(disk, trials, tmp_path, name):
    folder, resize = disk
    write = WRITERS[name]
    if write is copied:
        make_dataset(tmp_path / "source.h5ad", 0)
        write = partial(copied, source=tmp_path / "source.h5ad")
    write(tmp_path / name)  # where there is room; also: what is slow to import
    size = (tmp_path / name).stat().st_size
    assert size > ROOM, "this writes too little to fill the disk"
    for _ in range(trials.number(4, 20)):
        room = int(trials.random.integers(4096, size - 4096))
        resize(str(room))
        what = f"{name} of {size} bytes, {room} free"
        try:
            write(folder / name)
        except UserError as error:
            left = [path.name for path in folder.iterdir()]
            if re.search(rf"/{name}: ", str(error)) is None or FULL not in str(error):
                trials.lost(KIND, what, f"says: {error}")
            elif left:
                trials.lost(KIND, what, f"left: {left}")
            else:
                trials.survived(KIND, what)
        else:
            trials.lost(KIND, what, "no error")
    resize("64m")
    write(folder / name)
    assert (folder / name).read_bytes() == (tmp_path / name).read_bytes() or name.startswith("copy")


def test_a_training_goes_on_where_it_cannot_save_itself(disk, trials, capsys):
    import torch

    from sclamp.train.resume import Resume

    folder, resize = disk
    resume, state = Resume(folder / "resume.pt", {"seed": 1}), {"x": torch.from_numpy(noise(20_000))}
    assert not resume.save(state)
    assert "training goes on, but could not be saved" in (said := capsys.readouterr().err)
    assert FULL in said
    assert list(folder.iterdir()) == []
    resize("1m")
    assert resume.save(state)
    assert resume.load() is not None
    trials.survived(KIND, "resume.pt")


def test_a_full_disk_of_temporary_files_does_not_kill(disk, trials, tmp_path, monkeypatch):
    """A matrix stored by gene is put into the order of cells in a file that is mapped into memory."""
    from sclamp.config.datasets import Dataset
    from sclamp.data.sources import open_source

    folder, resize = disk
    cells = anndata.AnnData(sparse.csc_matrix(np.random.default_rng(0).poisson(2.0, (300, 200)).astype(np.float32)))
    cells.write_h5ad(tmp_path / "by_gene.h5ad")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    settings = Dataset(path=str(tmp_path / "by_gene.h5ad"))
    with (
        pytest.raises(UserError, match=f"{FULL}; about .* GB are needed for temporary files"),
        open_source(settings) as s,
    ):
        list(s.blocks())
    assert list(folder.iterdir()) == []
    resize("4m")
    with open_source(settings) as source:
        assert sum(block.shape[0] for block in source.blocks()) == 300
    assert list(folder.iterdir()) == []
    trials.survived(KIND, "temporary files")


def test_a_cache_of_vectors_keeps_whole_parts(disk, trials):
    from sclamp.priors.cache import VectorCache

    folder, resize = disk
    cache = VectorCache(folder, "identity")
    cache.add([f"{i:064d}" for i in range(400)], noise(400 * 100).reshape(400, 100), [False] * 400)
    with pytest.raises(UserError, match=f"part-.*: {FULL}"):
        cache.flush()
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    resize("1m")
    cache.flush()
    assert "0" * 64 in VectorCache(folder, "identity")
    trials.survived(KIND, "cache of vectors")


def test_a_download_leaves_nothing_half(disk, trials, tmp_path, monkeypatch):
    from sclamp.core.download import download

    folder, resize = disk
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served/x.bin").write_bytes(content)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        asked = (f"http://127.0.0.1:{server.server_port}/x.bin", hashlib.sha256(content).hexdigest())
        with pytest.raises(UserError, match=rf"x\.bin: {FULL}"):
            download(*asked)
        assert [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size] == []
        resize("4m")
        assert download(*asked).read_bytes() == content
        server.shutdown()
        thread.join()
    trials.survived(KIND, "download")


def test_a_job_on_a_full_disk_says_so_and_runs_again(reference, project, forks, trials, whole):
    """Results on a disk with less room than the job's files need; the log elsewhere, so that the message has room."""
    results = project.folder / OUT
    kept = shutil.move(results, project.folder / "kept")
    results.mkdir()
    with small_disk(results, "64m") as resize:
        shutil.copytree(kept, results, dirs_exist_ok=True)
        jobs = one_of_each_rule(reference.jobs)
        for job in jobs if whole else jobs[1:3]:
            outputs = [project.folder / path for path in job.outputs]
            pages = sum(-(-path.stat().st_size // PAGE) for path in outputs)
            for path in outputs:
                path.unlink()
            free = int(trials.random.integers(1, pages + 1)) * PAGE
            usage = os.statvfs(results)
            resize(str((usage.f_blocks - usage.f_bfree) * usage.f_frsize + free))
            log = f"{job.rule}.log"
            status, said, *_ = forks.run(project.folder, job.command, log)
            half = [path for path, digest in digests(results).items() if reference.digests.get(path) != digest]
            resize("64m")
            what = f"{job.rule}: files of {pages * PAGE} bytes, {free} free"
            named = any(re.search(rf"{re.escape(Path(path).stem)}.*: {FULL}", said) for path in job.outputs)
            again = forks.run(project.folder, job.command, log)
            if half:
                trials.lost(KIND, what, f"half written or left behind: {half}")
            elif status and not named:
                trials.lost(KIND, what, f"status {status}, says: {said}")
            elif again.status or digests(results) != reference.digests:
                trials.lost(KIND, what, f"with space again: status {again.status}: {again.said}")
            elif status:  # otherwise it fitted
                trials.survived(KIND, what)
