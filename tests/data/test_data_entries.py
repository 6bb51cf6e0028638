"""Log counts and entries out of sparse rows against dense arithmetic, from everywhere that rows may lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

from sclamp.data.batches import Batches, dense_type
from sclamp.data.entries import LOG1P, PickedRows, StreamedEntries, gathered, rows_of
from sclamp.data.inputs import Counts, Inputs, describe, read_inputs
from sclamp.data.placement import Placement
from sclamp.types import Entries

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
PLACES = {"resident": Placement(True, None, ""), "streamed": Placement(False, None, "")}
WANTS = frozenset({"log_counts", "entries"})


def _inputs(path: Path, order: np.ndarray | None = None) -> tuple[Inputs, np.ndarray]:
    """Inputs, and the counts that they must give, of all genes or of some in another order."""
    spec = describe(path, {})
    dense = np.asarray(anndata.read_h5ad(path).X.todense(), dtype=np.float64)
    if order is None:
        return read_inputs(path, spec), dense
    genes = tuple(spec.gene_ids[i] for i in order)
    return read_inputs(path, replace(spec, gene_ids=genes)), dense[:, order]


def _check(log_counts: torch.Tensor, entries: Entries, counts: np.ndarray) -> None:
    assert log_counts.dtype == entries.count.dtype == torch.float32 and entries.position.dtype == torch.int64
    assert log_counts.cpu().numpy() == pytest.approx(np.log1p(counts), rel=1e-6)
    assert entries.position.tolist() == np.flatnonzero(counts).tolist()
    assert entries.count.tolist() == counts[counts > 0].tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("genes", ["all", "some, shuffled"])
@pytest.mark.parametrize("scale", [1.0, 80.0, 9000.0], ids=["uint8", "uint16", "uint32"])
def test_batches_hold_what_dense_arithmetic_gives(
    tiny_counts: Callable[..., Path], device: str, place: str, genes: str, scale: float
):
    shuffled = np.random.default_rng(2).permutation(60)[:31]
    inputs, counts = _inputs(tiny_counts(scale=scale), None if genes == "all" else shuffled)
    rows = np.random.default_rng(1).permutation(120)
    plan = [rows[:50], rows[50:51], rows[51:]]
    for chosen, batch in zip(plan, Batches(inputs, WANTS, torch.device(device), PLACES[place]).of(plan), strict=True):
        assert batch.counts is None and batch.lognorm is None
        _check(batch.log_counts, batch.entries, counts[chosen])


@pytest.mark.parametrize("wants", [{"log_counts"}, {"entries"}])
def test_only_what_is_wanted(tiny_counts: Callable[..., Path], wants: set[str]):
    inputs, _ = _inputs(tiny_counts())
    batch = next(Batches(inputs, frozenset(wants), torch.device("cpu"), PLACES["resident"]).batches(None))
    assert {name for name in WANTS if getattr(batch, name) is not None} == wants


@pytest.mark.parametrize("place", PLACES)
def test_both_ways_agree_where_a_model_wants_more(tiny_counts: Callable[..., Path], place: str):
    inputs, _ = _inputs(tiny_counts())
    cpu = torch.device("cpu")
    sparse = next(Batches(inputs, WANTS, cpu, PLACES[place]).batches("train"))
    dense = next(Batches(inputs, WANTS | {"lognorm"}, cpu, PLACES[place]).batches("train"))
    assert torch.equal(sparse.log_counts, dense.log_counts)
    assert torch.equal(sparse.entries.position, dense.entries.position)
    assert torch.equal(sparse.entries.count, dense.entries.count)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_picked_by_index_operations_are_those_of_the_loop(tiny_counts: Callable[..., Path], device: str):
    inputs, counts = _inputs(tiny_counts(), np.random.default_rng(0).permutation(60)[:40])
    picked = PickedRows(rows_of(inputs, dense_type(inputs)), inputs.n_genes, torch.device(device))
    for rows in (np.arange(120)[::-1].copy(), np.array([7]), np.array([3, 3, 5])):
        found = picked.pick(rows, torch.from_numpy(rows).to(device))
        _check(found["log_counts"], found["entries"], counts[rows])


def _by_hand(data: np.ndarray, indices: list[int], indptr: list[int], n_genes: int = 4) -> Inputs:
    counts = Counts(np.array(indptr), np.array(indices, np.uint16), data, n_genes)
    n, none = len(indptr) - 1, np.zeros(0)
    return Inputs(
        counts=counts, columns=np.arange(n_genes), n_genes=n_genes, cell_ids=np.arange(n), split=np.repeat("train", n),
        library_size=np.ones(n, np.float32), covariates=np.zeros((n, 0), np.float32), batch=np.zeros(n, np.int64),
        label=np.zeros(n, np.int64), mean=none, std=none, recipe=None,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["resident", "picked", "streamed"])
@pytest.mark.parametrize(
    "data",
    [np.array([5, 0, 1, 2, 9], np.uint8), np.array([70_000, 0, 65_536, 65_535, 3], np.uint32),
     np.array([2.5, 0, 1, 0.25, 300_000], np.float32)],
    ids=["uint8", "uint32", "float32"],
)  # fmt: skip
def test_stored_zeros_empty_cells_unsorted_genes_and_large_or_broken_counts(way: str, data: np.ndarray):
    inputs = _by_hand(data, [3, 1, 0, 2, 3], [0, 3, 3, 5])
    dense = np.zeros((3, 4))
    dense[[0, 0, 0, 2, 2], [3, 1, 0, 2, 3]] = data
    rows = np.array([2, 1, 0])
    if way == "picked":
        found = PickedRows(rows_of(inputs, dense_type(inputs)), 4, torch.device("cpu")).pick(
            rows, torch.from_numpy(rows)
        )
        _check(found["log_counts"], found["entries"], dense[rows])
        return
    batch = next(Batches(inputs, WANTS, torch.device("cpu"), PLACES[way]).of([rows]))
    _check(batch.log_counts, batch.entries, dense[rows])


def test_a_batch_of_empty_cells():
    inputs = _by_hand(np.array([5], np.uint8), [3], [0, 0, 1, 1])
    rows = np.array([0, 2])
    for found in (
        *StreamedEntries(inputs, torch.device("cpu")).take([rows], [torch.from_numpy(rows)]),
        PickedRows(rows_of(inputs, np.uint8), 4, torch.device("cpu")).pick(rows, torch.from_numpy(rows)),
    ):
        assert len(found["entries"].position) == len(found["entries"].count) == 0
        assert found["log_counts"].shape == (2, 4) and not found["log_counts"].any()


def test_the_table_is_what_torch_computes_for_a_dense_batch():
    assert torch.equal(LOG1P[:300], torch.arange(300).float().log1p())
    dense, _, _ = gathered(
        np.array([0, 1]),
        np.zeros(1, np.int64),
        np.array([255], np.uint8),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        1,
    )
    assert dense.item() == torch.tensor(255.0).log1p().item()


def test_sparse_counts_are_placed_by_their_size(tiny_counts: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    inputs, _ = _inputs(tiny_counts())
    Batches(inputs, WANTS, torch.device("cpu"))
    assert "data: resident: the sparse counts" in capsys.readouterr().err
