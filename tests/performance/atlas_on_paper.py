"""What 100 million cells would take: sizes, what is exchanged, hours per stage, and two simulations. Not a claim.

Rates are those of MEASURED, each with the command that printed it; `--measure` measures those of `HERE` again on
synthetic cells. The simulations are of what no formula gives: how long steps take when processes read through one file
system and wait for each other, and how well blocks of rows are mixed.

python tests/performance/atlas_on_paper.py [--cells N] [--gpu-rate R] [--disk GB_PER_S] [--measure CELLS]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import measure
import numpy as np
import pandas as pd
from scipy import sparse

GENES, SELECTED, ALL_NONZERO, NONZERO = 20_000, 2_000, 1_000, 212
"""Genes; counts of a cell that are not zero, of all genes (5%) and of the selected ones (10.6%)."""
PARAMETERS, HIDDEN, LATENT = 520_628, 128, 10
"""Of `scvi` as in scvi_step.py: BatchNorm after one layer of the encoder and one of the decoder."""
BATCH, VALIDATION_SHARE, EPOCHS = 8_192, 0.1, 10
MEASURED = {  # cells per CPU second, or what else is said
    "prepare": 11_300.0,  # --measure 10000
    "select": 28_600.0,  # streaming_stats.py: 200,000 cells in 7 CPU seconds, with packing
    "describe": 5_600.0,  # streaming_stats.py: 200,000 cells in 36 CPU seconds, t-digest
    "gather": 271_000.0,  # random_rows.py: dense rows of 2000 genes, from the page cache
    "train on a core": 12_900.0,  # scvi_step.py
    "export": 1_790.0,  # --measure 10000; with its reconstruction, of a bounded number of cells: too few
    "bytes per cell of a process": 376.0,  # --measure 10000: ids, splits, labels, 50 batches one-hot; not counts
    "neighbours of 200,000": 73.0,  # panel_memory.py: CPU seconds, growing with the square
}
HERE = ("prepare", "export", "bytes per cell of a process")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=float, default=1e8)
    parser.add_argument("--gpu-rate", type=float, default=2e5, help="training cells per second of one GPU: yours")
    parser.add_argument("--disk", type=float, default=5.0, help="GB/s that all nodes together read from the disk")
    parser.add_argument("--measure", type=int, metavar="CELLS", help="measure on so many synthetic cells, no more")
    options = parser.parse_args()
    if options.measure:
        print(f"{measure.hardware()}")
        for name, value in measured_here(options.measure).items():
            print(f"{name}: {value:,.0f}")
        return
    print_sizes(options.cells)
    print_exchange()
    print_hours(options.cells, options.gpu_rate)
    print_steps(options.gpu_rate, options.disk)
    print_mixing()


# --- sizes and hours --------------------------------------------------------------------------------------------------


def print_sizes(cells: float) -> None:
    """Files, memory of a process, what an epoch reads."""
    print(f"\n{cells:,.0f} cells, {GENES:,} genes, {SELECTED:,} selected")
    rows = {
        "cells.h5ad (float32 counts, int32 genes)": cells * (8 * ALL_NONZERO + 8),
        "genes/SELECTION.h5ad (uint8 counts, uint16 genes)": cells * (3 * NONZERO + 8),
        "memory of each process for tables of cells": cells * MEASURED["bytes per cell of a process"],
        "order of an epoch (each process has it)": cells * 8 * 2,
        "an epoch's reads, all processes together": cells * (3 * NONZERO + 8),
        "cell_embedding.parquet, float32": cells * 4 * LATENT,
        "k-nearest neighbours, k = 90 (int32, float32)": cells * 90 * 8,
    }
    for name, size in rows.items():
        print(f"  {name}: {size / 1e9:,.1f} GB")


def print_exchange() -> None:
    """Bytes per optimiser step."""
    gradients, norm = 4 * (PARAMETERS + 1), 2 * 2 * 8 * (1 + 2 * HIDDEN)
    print("\nexchanged per step (scvi, 2 BatchNorm layers)")
    sent = gradients * 2 * 7 / 8
    print(f"  gradients: {gradients / 1e6:.2f} MB, in one sum; a process of 8 sends {sent / 1e6:.2f} MB")
    print(f"  BatchNorm, there and back: {norm:,} bytes, in 4 sums")
    for link, rate in (("25 Gbit/s between nodes", 3e9), ("NVLink, 200 GB/s", 2e11)):
        print(f"  on {link}: {sent / rate * 1e3:.2f} ms and the latency of 6 sums")


def print_hours(cells: float, gpu_rate: float) -> None:
    """Hours per stage on one core, or on GPUs."""
    seconds = {"prepare_cells on one core": cells / MEASURED["prepare"]}
    seconds["describe_genes on one core"] = cells / MEASURED["describe"]
    seconds["select_genes with packing on one core"] = cells / MEASURED["select"]
    epochs = EPOCHS * cells * (1 + VALIDATION_SHARE / 3)  # validation goes forward only
    seconds[f"scvi, {EPOCHS} epochs, one core"] = epochs / MEASURED["train on a core"]
    for gpus in (1, 8, 32):
        rate = min(gpus * gpu_rate, gpus * MEASURED["gather"])
        seconds[f"scvi, {EPOCHS} epochs, {gpus} GPUs, if each trains {gpu_rate:,.0f} cells/s"] = epochs / rate
    seconds["export_embeddings on one core"] = cells / MEASURED["export"]
    seconds["find_neighbors on one core"] = MEASURED["neighbours of 200,000"] * (cells / 200_000) ** 2
    print("\nhours")
    for name, value in seconds.items():
        print(f"  {name}: {value / 3600:,.{1 if value > 3600 else 2}f}")


# --- simulations ------------------------------------------------------------------------------------------------------


def print_steps(gpu_rate: float, disk: float) -> None:
    """Steps of several nodes of 8 GPUs that read through one file system, three batches ahead."""
    print(f"\nsimulated: batches of {BATCH:,}, {gpu_rate:,.0f} cells/s per GPU, {disk} GB/s for all nodes together")
    print("  nodes  GPUs  from memory  from the disk  of it: read    (cells/s, and what the disk delivers)")
    for nodes in (1, 2, 4, 8, 16):
        gpus, more = 8 * nodes, page_reads(nodes)
        memory = simulated(gpus, gpu_rate, np.inf)
        read = simulated(gpus, gpu_rate, disk * 1e9 / more)
        rate = BATCH / read
        volume = f"{rate * (3 * NONZERO + 8) * more / 1e9:.1f} GB/s, each cell {more:.1f} times"
        print(f"  {nodes:5}  {gpus:4}  {BATCH / memory:11,.0f}  {rate:13,.0f}  {volume:>32}")


def page_reads(nodes: int, page: int = 4096) -> float:
    """How often the disk delivers a page in an epoch: to each node that has one of its rows, which are dealt out."""
    rows = page / (3 * NONZERO)
    return nodes * (1 - (1 - 1 / nodes) ** (rows + 1))


def simulated(gpus: int, gpu_rate: float, disk: float, steps: int = 1500, ahead: int = 3) -> float:
    """Seconds per step. Reads take turns on the disk's bandwidth and vary (log-normal, 0.5), compute varies by 5%."""
    rng, share = np.random.default_rng(0), BATCH / gpus
    need = share * (3 * NONZERO + 8)
    gather = share / MEASURED["gather"]
    sums = 100e-6 * np.log2(max(gpus, 2)) + 4 * PARAMETERS * 2 / 3e9  # over the processes: latency, 3 GB/s
    begun = np.zeros((steps + ahead, 1))
    ready, end = np.zeros(gpus), 0.0
    for step in range(steps):
        reading = gather + need * gpus / disk * rng.lognormal(-0.125, 0.5, gpus)
        ready = np.maximum(ready, begun[max(step - ahead, 0)]) + reading
        start = np.maximum(ready, end)
        begun[step] = start.max()
        end = float((start + share / gpu_rate * rng.normal(1, 0.05, gpus).clip(0.8)).max()) + sums
    return end / steps


def print_mixing() -> None:
    """How alike the cells of a batch are when blocks of 64 neighbours are shuffled in windows."""
    from sclamp.data.placement import BLOCK_ROWS
    from sclamp.data.stream import WINDOW_ROWS, epoch_order

    n = 4_000_000
    value = np.repeat(np.random.default_rng(1).normal(size=-(-n // 5000)), 5000)[
        :n
    ]  # donors of 5000 neighbouring cells
    print(f"\nmixing: cells sorted by donor, 5,000 each; blocks of {BLOCK_ROWS} rows, windows of {WINDOW_ROWS:,}")
    print("  batch  variance of a batch's mean over that of as many independent cells: random rows, blocks, formula")
    orders = [epoch_order(np.arange(n), 0, 0, block_rows) for block_rows in (None, BLOCK_ROWS)]
    for batch in (128, 1024, 8192):
        found = [variance_of_means(value[order], batch) for order in orders]
        formula = 1 + (batch - 1) * (BLOCK_ROWS - 1) / (WINDOW_ROWS - 1)
        print(f"  {batch:5}  {found[0]:.2f}  {found[1]:.2f}  {formula:.2f}")


def variance_of_means(values: np.ndarray, batch: int) -> float:
    """Variance of the means of batches, times the batch, over the variance of the values."""
    whole = values[: len(values) // batch * batch].reshape(-1, batch)
    return float(whole.mean(1).var() * batch / values.var())


# --- measuring --------------------------------------------------------------------------------------------------------


def measured_here(n_cells: int) -> dict[str, float]:
    """Rates of the stages in `HERE` on synthetic cells; start-up is taken off by a run on a tenth of them."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [resident_bytes(Path(folder) / f"tables{n}.h5ad", n) for n in (100_000, 400_000)]
        few, many = (list(stages(Path(folder) / str(n), n)) for n in (n_cells // 10, n_cells))
    more = n_cells - n_cells // 10
    rates = [more / (many[i] - few[i]) for i in (0, 1)]
    return dict(zip(HERE, [*rates, (tables[1] - tables[0]) / 300_000], strict=True))


def stages(folder: Path, n_cells: int) -> Iterator[float]:
    """CPU seconds of preparing and of exporting."""
    from atlas import write_cells

    folder.mkdir()
    write_cells(folder / "raw.h5ad", n_cells)
    data = {"path": str(folder / "raw.h5ad"), "counts": "X", "batch": "batch"}
    yield cpu_seconds("prepare_cells.py", "--settings", json.dumps(data), "--output", folder / "cells.h5ad")
    selection = {"n_genes": SELECTED}
    cpu_seconds(
        "select_genes.py", "--cells", folder / "cells.h5ad", "--settings", json.dumps(selection), "--table",
        folder / "genes.parquet", "--counts", folder / "genes.h5ad",
    )  # fmt: skip
    settings = {"mode": "scvi", "max_epochs": 1, "device": "cpu", "hidden_dims": [HIDDEN], "batch_size": n_cells}
    cpu_seconds(
        "train_model.py", "--counts", folder / "genes.h5ad", "--settings", json.dumps(settings),
        "--model", folder / "model.pt", "--history", folder / "history.parquet",
    )  # fmt: skip
    yield cpu_seconds(
        "export_embeddings.py", "--counts", folder / "genes.h5ad", "--model", folder / "model.pt", "--cells",
        folder / "cells.parquet", "--genes", folder / "genes_of_model.parquet", "--reconstruction",
        folder / "reconstruction.parquet",
    )  # fmt: skip


def cpu_seconds(script: str, *arguments: object) -> float:
    """CPU seconds of a script."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(measure.ROOT / "scripts" / script), *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def resident_bytes(path: Path, n_cells: int) -> float:
    """Memory beyond the page cache that a process has after reading a training's inputs, but hardly any counts."""
    from sclamp.data.h5ad import counts_writer

    names = np.array([f"ACGTACGTACGTACGT-1-{i:07d}" for i in range(n_cells)], dtype=object)
    split = pd.Categorical(np.where(np.arange(n_cells) % 10, "train", "val"))
    batch = pd.Categorical((np.arange(n_cells) % 50).astype(str))
    columns = {"split": split, "batch": batch, "label": batch, "library_size": np.ones(n_cells, np.float32)}
    ids = pd.Index(["gene0", "gene1"], dtype=object)
    var = pd.DataFrame({"symbol": ids, "lognorm_mean": 1.0, "lognorm_std": 1.0}, index=ids)
    known = sorted(batch.categories)
    spec = {
        "batches": known, "labels": known, "batch_column": "batch", "recipe": {"target_sum": 1e4, "log1p": True},
        "covariates": {"categorical": {"batch": known}, "continuous": {}},
    }  # fmt: skip
    block = sparse.csr_matrix((np.ones(n_cells), np.zeros(n_cells, int), np.arange(n_cells + 1)), (n_cells, 2))
    one_hot = (np.arange(50) == (np.arange(n_cells) % 50)[:, None]).astype(np.float32)
    uns, obs = {"spec": spec, "provenance": {}}, pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    with counts_writer(path, obs, var, n_cells, np.uint8, np.uint16, {"covariates": one_hot}, uns) as writer:
        writer.append(block)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sclamp.data.inputs import describe, read_inputs\n"
        "inputs = read_inputs(sys.argv[2], describe(sys.argv[2], {}))\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('RssAnon')).split()[1])"
    )
    command = [sys.executable, "-c", code, str(measure.ROOT / "scripts"), str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024


if __name__ == "__main__":
    main()
