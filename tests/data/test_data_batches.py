"""Batches against dense numpy arithmetic, from memory and from the mapped file; where the counts are put, and why."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch

from sclamp.core.errors import UserError
from sclamp.data.batches import Batches, dense_type
from sclamp.data.inputs import Inputs, columns_of, describe, read_gene_priors, read_inputs
from sclamp.data.placement import BLOCK_ROWS, Placement, free_memory, place
from sclamp.data.stream import WINDOW_ROWS, cut, epoch_order, read_ahead
from sclamp.types import Recipe

CPU = torch.device("cpu")
ALL = frozenset({"counts", "lognorm", "scaled", "labels"})
PLACES = {
    "resident": Placement(True, None, ""),
    "streamed": Placement(False, None, ""),
    "blocks": Placement(False, 8, ""),
}


def _inputs(path: Path, **changes: Any) -> Inputs:
    return replace(read_inputs(path, describe(path, {})), **changes)


def _dense(path: Path) -> np.ndarray:
    return np.asarray(anndata.read_h5ad(path).X.todense(), dtype=np.float64)


@pytest.mark.parametrize("place_name", PLACES)
@pytest.mark.parametrize("scale", [1.0, 80.0, 9000.0], ids=["uint8", "uint16", "uint32"])
def test_batches_equal_dense_arithmetic(tiny_counts: Callable[..., Path], place_name: str, scale: float):
    path = tiny_counts(scale=scale)
    file, inputs = anndata.read_h5ad(path), _inputs(path)
    batches = Batches(inputs, ALL, CPU, PLACES[place_name])
    rows = np.random.default_rng(1).permutation(120)
    plan = [rows[:50], rows[50:51], rows[51:]]
    counts = _dense(path)
    lognorm = np.log1p(counts / file.obs["library_size"].to_numpy(np.float64)[:, None] * 1e4)
    scaled = (lognorm - file.var["lognorm_mean"].to_numpy()) / file.var["lognorm_std"].to_numpy()
    for chosen, batch in zip(plan, batches.of(plan), strict=True):
        assert batch.rows.tolist() == chosen.tolist()
        assert np.array_equal(batch.counts.numpy(), counts[chosen])
        assert batch.lognorm.numpy() == pytest.approx(lognorm[chosen], rel=1e-5, abs=1e-6)
        assert batch.scaled.numpy() == pytest.approx(scaled[chosen].clip(-10, 10), rel=1e-4, abs=1e-5)
        assert batch.batch.tolist() == file.obs["batch"].cat.codes.to_numpy()[chosen].tolist()
        assert batch.label.tolist() == file.obs["label"].cat.codes.to_numpy()[chosen].tolist()
        assert np.array_equal(batch.covariates.numpy(), file.obsm["covariates"][chosen])
        assert batch.library_size.tolist() == file.obs["library_size"].to_numpy()[chosen].tolist()


@pytest.mark.parametrize("wants", [{"counts"}, {"lognorm"}, {"scaled"}, {"labels"}], ids=lambda w: next(iter(w)))
def test_only_what_is_wanted_is_computed(tiny_counts: Callable[..., Path], wants: set[str]):
    inputs = _inputs(tiny_counts())
    whole = next(iter(Batches(inputs, ALL, CPU, PLACES["resident"]).batches(None)))
    batch = next(iter(Batches(inputs, frozenset(wants), CPU, PLACES["resident"]).batches(None)))
    for name in ("counts", "lognorm", "scaled", "labels"):
        field = "label" if name == "labels" else name
        value = getattr(batch, field)
        assert (value is not None) == (name in wants)
        assert value is None or torch.equal(value, getattr(whole, field))


def test_recipe_is_obeyed(tiny_counts: Callable[..., Path]):
    inputs = _inputs(tiny_counts(), recipe=Recipe(target_sum=100.0, log1p=False, clip=0.5))
    batch = next(iter(Batches(inputs, ALL, CPU, PLACES["resident"]).batches(None)))
    expected = batch.counts / batch.library_size[:, None] * 100
    assert torch.allclose(batch.lognorm, expected)
    assert float(batch.scaled.abs().max()) == 0.5


@pytest.mark.parametrize("place_name", PLACES)
def test_a_subset_of_genes_in_another_order(tiny_counts: Callable[..., Path], place_name: str):
    path = tiny_counts()
    spec = describe(path, {})
    chosen = np.random.default_rng(2).permutation(60)[:31]
    inputs = read_inputs(path, replace(spec, gene_ids=tuple(spec.gene_ids[i] for i in chosen)))
    counts = _dense(path)
    batches = Batches(inputs, ALL, CPU, PLACES[place_name])
    for batch in batches.batches("val"):
        assert np.array_equal(batch.counts.numpy(), counts[batch.rows.numpy()][:, chosen])
    mean = anndata.read_h5ad(path).var["lognorm_mean"].to_numpy(np.float32)
    assert np.array_equal(inputs.mean, mean[chosen])


def test_splits_come_in_file_order_and_cover_all_cells(tiny_counts: Callable[..., Path]):
    path = tiny_counts(n_cells=1300)
    batches = Batches(_inputs(path), frozenset({"counts"}), CPU)
    split = anndata.read_h5ad(path).obs["split"].to_numpy()
    for name in ("train", "val", "test"):
        rows = torch.cat([batch.rows for batch in batches.batches(name)])
        assert rows.tolist() == np.flatnonzero(split == name).tolist()
    assert torch.cat([batch.rows for batch in batches.batches(None)]).tolist() == list(range(1300))
    assert list(batches.batches("nothing")) == []


def test_unseen_batches_and_missing_labels_are_minus_one(tiny_counts: Callable[..., Path]):
    path = tiny_counts()
    spec = replace(describe(path, {}), batches=("two",), labels=("delta",))
    inputs = read_inputs(path, spec)
    obs = anndata.read_h5ad(path).obs
    assert (inputs.batch == np.where(obs["batch"] == "two", 0, -1)).all()
    assert (inputs.label == np.where(obs["label"] == "delta", 0, -1)).all()


# --- genes and gene priors --------------------------------------------------------------------------------------------


def test_genes_without_a_vector_are_left_out(
    tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    path = tiny_counts(order=np.random.default_rng(0).permutation(60))
    genes = list(describe(path, {}).gene_ids)
    priors = read_gene_priors(
        {"a": tiny_prior(sorted(genes)[2:], name="a"), "b": tiny_prior(sorted(genes)[:-1], width=3, name="b")}
    )
    spec = describe(path, priors)
    absent = {sorted(genes)[0], sorted(genes)[1], sorted(genes)[-1]}
    assert list(spec.gene_ids) == [gene for gene in genes if gene not in absent]
    assert spec.gene_priors == {"a": 8, "b": 3}
    assert "3 of 60 genes lack a gene prior and are left out: " in capsys.readouterr().err


def test_a_prior_of_other_genes_is_refused(tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path]):
    path = tiny_counts()
    foreign = read_gene_priors({"a": tiny_prior(["G0001", "G9999"], name="a")})
    with pytest.raises(UserError, match="gene prior 'a': 1 of its 2 genes, such as 'G9999', are not among the 60"):
        describe(path, foreign)
    apart = read_gene_priors({"a": tiny_prior(["G0001"], name="a"), "b": tiny_prior(["G0002"], name="b")})
    with pytest.raises(UserError, match=r"gene priors a, b: no gene of .* has a vector in each"):
        describe(path, apart)


def test_missing_genes_and_other_covariates_are_named(tiny_counts: Callable[..., Path]):
    with pytest.raises(
        UserError, match="file: 2 of the model's 3 genes are missing, such as X, Y; the file has 2 genes"
    ):
        columns_of(["A", "B"], ["A", "X", "Y"], "file")
    path = tiny_counts()
    other = tiny_counts(name="other.h5ad", one_batch=True)
    with pytest.raises(UserError, match=r"covariates are batch \(1 categories\), the model .* batch \(2 categories\)"):
        read_inputs(other, describe(path, {}))


# --- order and reading ahead ------------------------------------------------------------------------------------------


def test_a_last_batch_of_one_joins_the_one_before():
    assert [len(batch) for batch in cut(np.arange(33), 16)] == [16, 17]
    assert [len(batch) for batch in cut(np.arange(34), 16)] == [16, 16, 2]
    assert [len(batch) for batch in cut(np.arange(1), 16)] == [1]


def test_shuffled_blocks_stay_near_each_other_but_not_in_order():
    rows = np.arange(3 * WINDOW_ROWS)
    order = epoch_order(rows, 0, 0, block_rows=64)
    assert np.array_equal(np.sort(order), rows)
    window = order[:WINDOW_ROWS]
    assert len(np.unique(window // 64)) == WINDOW_ROWS // 64  # whole blocks
    assert np.ptp(window) > 2 * WINDOW_ROWS  # from all over the file
    assert (np.diff(order) == 1).mean() < 0.01


def test_reading_ahead_keeps_order_and_passes_errors_on():
    assert list(read_ahead(range(50), lambda i: i * i)) == [i * i for i in range(50)]

    def fail(i: int) -> int:
        if i == 3:
            raise OSError("disk gone")
        return i

    got = []
    with pytest.raises(OSError, match="disk gone"):
        for value in read_ahead(range(9), fail):
            got.append(value)
    assert got == [0, 1, 2]


def test_an_abandoned_reader_ends_its_thread():
    reader = read_ahead(range(1000), lambda i: i)
    assert next(reader) == 0
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "sclamp-read-ahead"]


# --- where the counts lie ---------------------------------------------------------------------------------------------

GB = 10**9


@pytest.mark.parametrize(
    ("sizes", "resident", "block_rows", "words"),
    [
        ((1 * GB, 1 * GB, 16 * GB, 16 * GB), True, None, r"resident: the dense counts \(1.0 GB\) fit"),
        ((20 * GB, 6 * GB, 16 * GB, 16 * GB), False, None, "streamed: .*random rows .* fits the page cache"),
        ((900 * GB, 60 * GB, 80 * GB, 16 * GB), False, BLOCK_ROWS, "shuffled blocks of 64 rows, .* exceeds"),
    ],
)
def test_sizes_decide(sizes: tuple[int, ...], resident: bool, block_rows: int | None, words: str):
    placement = place(*sizes)
    assert (placement.resident, placement.block_rows) == (resident, block_rows)
    assert re.search(words, placement.why)


def test_the_choice_is_logged(tiny_counts: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    Batches(_inputs(tiny_counts()), ALL, CPU)
    assert "data: resident" in capsys.readouterr().err


def test_smallest_types(tiny_counts: Callable[..., Path]):
    assert dense_type(_inputs(tiny_counts())) is np.uint8
    assert dense_type(_inputs(tiny_counts(scale=80.0, name="b.h5ad"))) is np.int16
    assert dense_type(_inputs(tiny_counts(scale=9000.0, name="c.h5ad"))) is np.int32


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/job", {"job/memory.max": "3000", "job/memory.stat": "anon 1000\nfile 9"}, 2000),
        ("0::/a/b", {"a/memory.max": "900", "a/memory.stat": "anon 0", "a/b/memory.max": "max"}, 900),
        ("4:memory:/j", {"memory/j/memory.limit_in_bytes": "500", "memory/j/memory.stat": "total_rss 100"}, 400),
        ("0::/", {}, 4096 * 1024),
    ],
)
def test_limits_of_control_groups(tmp_path: Path, lines: str, files: dict[str, str], expected: int):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999 kB\nMemAvailable: 4096 kB\n")
    (tmp_path / "proc/self/cgroup").write_text(lines + "\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    assert free_memory(tmp_path / "proc", tmp_path / "groups") == expected
