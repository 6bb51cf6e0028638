"""How far the estimate of a training's memory is from the kernel's count: `python tests/support/memory_peaks.py MODE`.

For each mode (all without an argument) a training step on 512 cells of 4000 genes, and a validation, are run in a
process of their own; the peak of its resident memory over what it had before is the truth. The estimate is made twice:
with memory enough to try the whole batch, and with half of what it takes, so that it goes by a quarter of the batch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
"""The C library gives freed tensors back to the kernel at once."""
CELLS, GENES, BATCH = 720, 4000, 512
SETTINGS: dict[str, dict[str, Any]] = {
    "ppca": {}, "beta_vae": {}, "direct": {}, "stepwise_genes": {}, "self_informed": {}, "logistic_regression": {},
    "scvi": {}, "gene_nb": {}, "contrastive": {},
    "scvi bf16": {"precision": "bf16"}, "direct bf16": {"precision": "bf16"},
    "scvi zinb, gene-cell": {"likelihood": "zinb", "dispersion": "gene-cell"},
    "scvi softplus": {"link": "softplus"},
}  # fmt: skip


def training_of(mode: str, folder: Path, more: dict[str, Any], cells: int = CELLS, genes: int = GENES) -> Any:
    """A training of a mode on simulated cells, as train_model.py would make it."""
    from conftest import _simulated, write_counts

    from sclamp.config.registry import MODES
    from sclamp.core.files import write_embedding
    from sclamp.train.loop import Training
    from sclamp.train.run import Run, _build

    counts, obs = _simulated(cells, genes, 0, 1.0, (0.8, 0.15, 0.05))
    ids = np.array([f"G{i:04d}" for i in range(genes)], dtype=object)
    settings: dict[str, Any] = {"mode": mode, "batch_size": BATCH, "max_epochs": 1, **more}
    priors = {}
    if mode in ("direct", "self_informed", "stepwise", "stepwise_genes"):
        settings["gene_priors"], priors = ["text"], {"text": folder / "text.parquet"}
        vectors = np.random.default_rng(0).normal(size=(genes, 64)).astype(np.float32)
        write_embedding(priors["text"], "gene_id", ids, vectors, {})
    from sclamp.config.registry import settings_class

    path = write_counts(folder / "counts.h5ad", counts, obs, ids)
    chosen = settings_class(mode).model_validate(settings)
    assert MODES[mode].gradient
    import torch

    run = Run(chosen, 0, path, folder / "model.pt", folder / "history.parquet", priors)
    model, batches = _build(run, torch.device("cpu"))
    return Training(model, batches, chosen, 0)


def peak(act: Any) -> int:
    """Bytes by which resident memory grew at most while `act` ran."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    act()
    return status("VmHWM") - before


def measure(name: str) -> dict[str, Any]:
    """Estimates and truth of one of SETTINGS, in bytes."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]
    import torch

    from sclamp.train.memory import along, estimate

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        training = training_of(name.split()[0], Path(folder), SETTINGS[name])
        model, batches, settings = training.model, training.batches, training.settings
        training.model.initialise(batches)
        rows = training.train_rows[:BATCH]
        training._gradients(batches.of([rows[:8]]), (0, 8, 8), 0)  # libraries load, kernels are compiled
        training.optimizer.clear_gradients()
        model.train()
        truth = peak(lambda: training._gradients(batches.of([rows]), (0, BATCH, BATCH), 0))
        training.optimizer.clear_gradients()
        small, whole = (estimate(model, batches, settings, BATCH, free) for free in (truth // 2, 10**12))
    return {
        "name": name,
        "truth": truth,
        "whole": along(whole.steps, BATCH),
        "small": along(small.steps, BATCH),
        "tried": [sorted(whole.steps), sorted(small.steps)],
    }


def main() -> None:
    """Print a table."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    print(f"{'mode':24}{'peak, MB':>10}{'estimate':>10}{'error':>8}{'by a part':>11}{'error':>8}")
    for name in SETTINGS:
        answer = subprocess.run(
            [sys.executable, __file__, name], capture_output=True, text=True, check=False, env=PLAIN
        )
        if answer.returncode:
            print(name, answer.stderr[-2000:])
            continue
        found = json.loads(answer.stdout.splitlines()[-1])
        errors = [found[key] / found["truth"] - 1 for key in ("whole", "small")]
        print(
            f"{name:24}{found['truth'] / 1e6:10.1f}{found['whole'] / 1e6:10.1f}{errors[0]:8.0%}"
            f"{found['small'] / 1e6:11.1f}{errors[1]:8.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
