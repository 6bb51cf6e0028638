"""Claim: the scores of 200,000 cells x 30 dimensions need less than 4 GB.

find_neighbors.py and score_integration.py run as the workflow runs them, each in a process of its own; measured is the
highest resident memory of either. Beside it: CPU seconds of both, the same for a quarter of the cells (up to
evaluate.exact_cells every score is exact), and by which power of the number of cells time grows: at most the second.

python tests/performance/panel_memory.py [--cells N] [--threads N] [--bootstrap N]
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import embedded
import measure
import scib_panel

GOAL_GB, GOAL_POWER = 4.0, 2.0
N_CELLS = 200_000


class Cost(NamedTuple):
    """Of one process: CPU and elapsed seconds, highest resident memory in GB."""

    cpu: float
    wall: float
    gigabytes: float


def main() -> None:
    """Score a quarter of the cells, then all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=N_CELLS, help="fewer, to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples of the cells, as evaluate.bootstrap")
    options = parser.parse_args()
    print(f"scores of {options.cells} cells, {options.threads} threads, {measure.hardware()}")
    part, whole = (
        cost_of(n_cells, options.threads, options.bootstrap) for n_cells in (options.cells // 4, options.cells)
    )
    power = math.log(sum(c.cpu for c in whole.values()) / sum(c.cpu for c in part.values())) / math.log(4)
    print(f"  CPU seconds grow with the number of cells to the power of {power:.2f}")
    largest = max(cost.gigabytes for cost in whole.values())
    slow = power > GOAL_POWER
    sys.exit(not measure.verdict("panel_memory", GOAL_GB / largest, 1) or slow)


def cost_of(n_cells: int, threads: int, bootstrap: int) -> dict[str, Cost]:
    """Draw cells, search their neighbours, score them: script -> what it cost."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = embedded.write_inputs(folder, embedded.draw(n_cells))
        near = str(folder / "neighbors.parquet")
        at = inputs.index("--embedding")
        found = {"find_neighbors.py": cost([*inputs[at : at + 2], "--output", near], "find_neighbors.py", threads)}
        arguments = [*inputs, "--neighbors", near, "--dataset", "drawn", "--model", "drawn", "--seed", "0"]
        arguments += ["--settings", f'{{"bootstrap": {bootstrap}}}']
        for output in ("output", "replicates", "per-cell"):
            arguments += [f"--{output}", str(folder / f"{output}.parquet")]
        found["score_integration.py"] = cost(arguments, "score_integration.py", threads)
        check(folder / "output.parquet")
        print(f"  slowest, in elapsed seconds: {slowest(folder / 'output.parquet')}")
    for script, spent in found.items():
        print(
            f"  {n_cells} cells, {script}: {spent.cpu:.0f} CPU s, {spent.wall:.0f} s, {spent.gigabytes:.2f} GB",
            flush=True,
        )
    return found


def cost(arguments: list[str], script: str, threads: int) -> Cost:
    """Run a script; one that fails ends this one with its output."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, str(measure.ROOT / "scripts" / script), *arguments],
            env={**os.environ, **dict.fromkeys(names, str(threads))},
            stdout=output,
            stderr=output,
        )
        _, status, spent = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            sys.exit(f"{script} failed:\n{output.read()[-3000:]}")
    return Cost(spent.ru_utime + spent.ru_stime, time.perf_counter() - start, spent.ru_maxrss * 1024 / 1e9)


def check(path: Path) -> None:
    """Stop unless no score of all cells failed, and those of the standard panel have values."""
    import pandas as pd

    scores = pd.read_parquet(path)
    scores = scores[(scores["cells"] == "all") & (scores["task"] == "integration")]
    ok = scores["status"] == "ok"
    bad = scores[(scores["status"] == "failed") | (scores["metric"].isin(scib_panel.PANEL) & ~ok)]
    if len(bad) or not ok.any():
        sys.exit(f"some scores have no value:\n{bad[['metric', 'reason']].to_string()}")


def slowest(path: Path) -> str:
    """The scores that took the longest, each with what it was the first to need."""
    import pandas as pd

    seconds = pd.read_parquet(path).groupby("metric")["seconds"].sum().nlargest(8)
    return ", ".join(f"{metric} {spent:.0f}" for metric, spent in seconds.items())


if __name__ == "__main__":
    main()
