"""Claims: random rows at 10 times the speed of a backed AnnData, 3 times that of scdataset, in less than 500 MB.

A file of 200,000 cells x 20,000 genes, 5% of the counts not zero, is made in --folder (2.5 GB; kept there and used
again; without --folder a temporary one). All read batches of 128 cells as dense float32 counts of 2000 genes, on one
thread, from the page cache, out of files that are neither compressed nor chunked (anchors are slower with chunks):
  ours       true random rows of the packed genes/all.h5ad (scripts/select_genes.py, flavor all), streamed by Batches
  backed     true random rows of cells.h5ad through anndata.read_h5ad(backed="r").X
  scdataset  a block-shuffling reader: shuffled blocks of 16 rows of cells.h5ad, 64 batches per fetch
Memory is the highest RssAnon, which leaves out the page cache, of a fresh process that reads batches. Figures for all
20,000 genes are printed beside it: there the dense output itself, the same for all, takes most of the time.

python tests/performance/random_rows.py [--folder PATH]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measure
import numpy as np

GOAL_BACKED, GOAL_SCDATASET, GOAL_MB = 10.0, 3.0, 500
N_CELLS, N_GENES, DENSITY, BATCH, READ_GENES = 200_000, 20_000, 0.05, 128, 2000
BLOCK_CELLS = 1000
FETCH = 64


def main() -> None:
    """Make the file, alternate the readers, measure memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the synthetic data are made, or lie from another time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cells", type=int, default=N_CELLS, help="fewer, to try the script")
    parser.add_argument("--memory-of", choices=READERS, help="read some batches and print the memory it takes (MB)")
    options = parser.parse_args()
    if options.memory_of:
        print(f"{highest_memory(READERS[options.memory_of](options.folder, read_genes(READ_GENES))):.0f}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_files(folder, options.cells)
        sys.exit(not claims(folder, options.rounds))


def claims(folder: Path, rounds: int) -> bool:
    """Print the three claims; True when all hold."""
    print(f"random rows, one thread, {measure.hardware()}")
    check_equal(folder)
    for n_genes in (N_GENES, READ_GENES):  # the claim comes last
        print(f"  reading {n_genes} of {N_GENES} genes:")
        genes = read_genes(n_genes)
        batches = {"ours": 4 * FETCH, "backed": 20, "scdataset": 2 * FETCH}
        contenders = {name: reading(READERS[name](folder, genes), n) for name, n in batches.items()}
        rates = measure.alternate(contenders, rounds)
        ratios = {name: measure.ratio(rates["ours"], rates[name]) for name in ("backed", "scdataset")}
        print("  ratios: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    memory = {name: memory_of(name, folder) for name in READERS}
    print("  memory beyond the page cache: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in memory.items()))
    lean = memory["ours"] < GOAL_MB
    print(f"random_rows_memory MB={memory['ours']:.0f} goal={GOAL_MB}")
    fast = measure.verdict("random_rows_backed", ratios["backed"], GOAL_BACKED)
    return measure.verdict("random_rows", ratios["scdataset"], GOAL_SCDATASET) and fast and lean


# --- the readers: endless batches of 128 cells, dense float32 counts --------------------------------------------------


def read_genes(n_genes: int) -> np.ndarray:
    """Sorted positions of the genes that are read."""
    return np.sort(np.random.default_rng(1).permutation(N_GENES)[:n_genes])


def ours(folder: Path, genes: np.ndarray) -> Iterator[np.ndarray]:
    """Batches as a training streams them."""
    for batch in our_batches(folder, genes, itertools.count()):
        yield batch.counts.numpy()


def our_batches(folder: Path, genes: np.ndarray, epochs: Any) -> Iterator[Any]:
    import torch

    from sclamp.data.batches import Batches
    from sclamp.data.inputs import describe, read_inputs
    from sclamp.data.placement import Placement
    from sclamp.data.stream import cut, epoch_order

    torch.set_num_threads(1)
    path = folder / "all.h5ad"
    data = describe(path, {})
    data = dataclasses.replace(data, gene_ids=tuple(data.gene_ids[gene] for gene in genes))
    inputs = read_inputs(path, data)
    batches = Batches(inputs, frozenset({"counts"}), torch.device("cpu"), Placement(False, None, "streamed"))
    for epoch in epochs:
        yield from batches.of(cut(epoch_order(inputs.rows("train"), 0, epoch), BATCH))


def backed(folder: Path, genes: np.ndarray) -> Iterator[np.ndarray]:
    """Random rows of a backed AnnData; sorted within a batch, which h5py wants."""
    import anndata

    matrix = anndata.read_h5ad(folder / "cells.h5ad", backed="r").X
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(matrix.shape[0])
        for first in range(0, len(order) - BATCH, BATCH):
            rows = matrix[np.sort(order[first : first + BATCH])]
            yield (rows if len(genes) == N_GENES else rows[:, genes]).toarray()


def scdataset(folder: Path, genes: np.ndarray) -> Iterator[np.ndarray]:
    """Shuffled blocks of rows; genes are picked once per fetch."""
    import anndata
    from scdataset import BlockShuffling, scDataset

    def fetched(cells: Any) -> Any:
        return cells.X if len(genes) == N_GENES else cells.X[:, genes]

    dataset = scDataset(
        anndata.read_h5ad(folder / "cells.h5ad", backed="r"),
        BlockShuffling(block_size=16),
        batch_size=BATCH,
        fetch_factor=FETCH,
        fetch_transform=fetched,
        batch_transform=lambda rows: rows.toarray(),
        seed=0,
    )
    while True:
        yield from dataset


READERS: dict[str, Callable[[Path, np.ndarray], Iterator[np.ndarray]]] = {
    "ours": ours,
    "backed": backed,
    "scdataset": scdataset,
}


def reading(batches: Iterator[np.ndarray], n: int) -> measure.Contender:
    """Read n batches per call."""

    def read() -> int:
        return sum(len(next(batches)) for _ in range(n))

    return measure.timed(read)


def check_equal(folder: Path) -> None:
    """Our batch holds the counts that the file holds, to the bit."""
    import anndata

    matrix, genes = anndata.read_h5ad(folder / "cells.h5ad", backed="r").X, read_genes(READ_GENES)
    batch = next(our_batches(folder, genes, [0]))
    rows, back = np.unique(batch.rows.numpy(), return_inverse=True)
    expected = matrix[rows][:, genes].toarray()[back]
    if not np.array_equal(batch.counts.numpy(), expected) or not expected.any():
        sys.exit("our counts differ from those of the file")


# --- memory -----------------------------------------------------------------------------------------------------------


def highest_memory(batches: Iterator[np.ndarray]) -> float:
    """Highest anonymous memory of this process over 200 batches, in MB."""
    return max(anonymous_megabytes() for _ in itertools.islice(batches, 200))


def anonymous_megabytes() -> float:
    """Resident memory of this process that is no page of a file."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1000


def memory_of(reader: str, folder: Path) -> float:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", reader, "--folder", str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# --- the data ---------------------------------------------------------------------------------------------------------


def make_files(folder: Path, n_cells: int) -> None:
    """cells.h5ad as prepare_cells.py writes it, and all.h5ad packed from it; kept if they are there."""
    cells, packed = folder / "cells.h5ad", folder / "all.h5ad"
    folder.mkdir(parents=True, exist_ok=True)
    if not cells.exists():
        write_cells(cells, n_cells)
    if not packed.exists():
        script = [sys.executable, str(measure.ROOT / "scripts/select_genes.py"), "--settings", '{"flavor": "all"}']
        files = ["--cells", str(cells), "--table", str(folder / "all.parquet"), "--counts", str(packed)]
        seconds = measure.cpu_seconds(script + files)
        print(f"packing (once): {seconds:.0f} CPU s")
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e9:.2f} GB" for path in (cells, packed))
    print(f"files: {sizes}")


def write_cells(path: Path, n_cells: int) -> None:
    """Draw the cells twice: once for how many counts there are, once to write them."""
    import pandas as pd
    from synthetic import Tissue

    from sclamp.data.h5ad import counts_writer

    tissue = Tissue(N_GENES, DENSITY)
    sizes = [min(BLOCK_CELLS, n_cells - first) for first in range(0, n_cells, BLOCK_CELLS)]
    library, n_genes, in_cells, total = [], [], np.zeros(N_GENES, np.int64), np.zeros(N_GENES)
    for number, size in enumerate(sizes):
        block = tissue.block(number, size)
        library.append(np.asarray(block.sum(1)).ravel())
        n_genes.append(np.diff(block.indptr))
        in_cells += np.bincount(block.indices, minlength=N_GENES)
        total += np.asarray(block.sum(0)).ravel()
    found = np.concatenate(n_genes)
    split = pd.Categorical(["train"] * (n_cells - 2) + ["val", "test"], categories=["train", "val", "test"])
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(["all"] * n_cells),
            "split": split,
            "library_size": np.concatenate(library).astype(np.float32),
            "n_genes": found,
            "mito_share": np.zeros(n_cells, np.float32),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    ids = [f"gene{i}" for i in range(N_GENES)]
    var = pd.DataFrame({"symbol": ids, "n_cells": in_cells, "total_counts": total}, index=ids)
    recipe = {"target_sum": 1e4, "log1p": True, "clip": 10.0}
    spec = {"batches": ["all"], "labels": [], "covariates": {"categorical": {}, "continuous": {}}, "recipe": recipe}
    uns = {"spec": spec, "provenance": {}}
    with counts_writer(path, obs, var, int(found.sum()), np.float32, np.int32, {}, uns) as writer:
        for number, size in enumerate(sizes):
            writer.append(tissue.block(number, size))
    print(f"made {n_cells} cells with {found.mean():.0f} genes and {obs['library_size'].mean():.0f} counts each")


if __name__ == "__main__":
    main()
