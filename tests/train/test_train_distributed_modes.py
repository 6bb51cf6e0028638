"""Every mode, trained by 2 and by 4 processes: the curves and parameters of one process, and the same bytes on each.

Nothing here names a mode but `FURTHER`, settings that need the whole batch: a new mode is tested by being registered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from process_group import launch

from sclamp.config.registry import MODES, settings_class

WORKER = Path(__file__).resolve().parents[1] / "support" / "together.py"
TERMS = {"alpha": "CL:0000171", "beta": "CL:0000169", "delta": "CL:0000173"}
SMALL = {
    "latent_dim": 4, "hidden_dims": (16,), "max_epochs": 3, "device": "cpu", "label_terms": TERMS,
    "batch_norm": True, "encoder_norm": "batch", "decoder_norm": "batch", "gene_residual": 1.0,
    "dropout": 0.2, "input_dropout": 0.1, "decoder_dropout": 0.1, "gene_dropout": 0.1,
    "epochs_before_beta_warmup": 0, "beta_warmup_rate": 0.5, "kl_warmup_epochs": 1,
}  # fmt: skip
"""Every setting of a mode that there is among them; dropout and BatchNorm wherever a mode has them."""
GRADIENT = tuple(name for name, mode in MODES.items() if mode.gradient)
FURTHER: dict[str, dict[str, Any]] = {
    "gene_nb, discrepancy": {"mode": "gene_nb", "alignment": "mmd"},
    "gene_nb, adversary": {"mode": "gene_nb", "alignment": "adversary", "batchwise_encoder_norm": True},
    "scvi, everything": {
        "mode": "scvi", "likelihood": "zinb", "prior": "flow", "batch_representation": "embedding",
        "batch_embedding_sampled": True, "dispersion": "gene-label",
    },
    "ppca, blocks": {"mode": "ppca"},
    "direct, mixture": {"mode": "direct", "fusion": "moe", "gradient_clip": 1.0},
}  # fmt: skip
COUNTS, FLOAT32 = (1, 2, 4), ", float32"
UNEVEN, EVEN = 27, 28
"""84 training cells: batches of 27, 27, 27 and 3, too few to share, or of 28."""
STRICT, PLAIN = 1e-7, 1e-3
"""Largest relative difference between curves, with parameters in float64 (losses are noted in float32) and in float32.

Found in float32: 2e-7, but 3e-4 for `scvi` and `gene_nb`, whose decoder's BatchNorm takes off what the encoder's last
bias adds, so that only the KL term, of weight 0 at first, holds it: Adam makes steps of its rounding.
"""

pytestmark = pytest.mark.xdist_group("processes")


def ordered(modes: tuple[str, ...]) -> list[str]:
    """Modes that others start from come first."""
    return sorted(modes, key=lambda mode: len(MODES[mode].after))


def settings_of(mode: str) -> dict[str, Any]:
    known = settings_class(mode).model_fields
    values = {name: value for name, value in SMALL.items() if name in known}
    if "gene_priors" in known and MODES[mode].own_prior is None:
        values["gene_priors"] = ("text",)
    return values


def trainings(counts: Path, prior: Path) -> dict[str, dict[str, Any]]:
    """Name -> what `together.py` is to do: every mode in float64 and in float32, further settings in float64."""
    jobs = {}
    for strict in (True, False):
        wanted = {mode: {"mode": mode} for mode in ordered(GRADIENT)} | (FURTHER if strict else {})
        for name, changed in wanted.items():
            mode = changed["mode"]
            values = settings_of(mode) | changed | {"batch_size": UNEVEN if strict else EVEN}
            own = MODES[mode].own_prior
            names = [own] if own else values.get("gene_priors", ())
            jobs[name if strict else f"{name}{FLOAT32}"] = {
                "settings": values, "strict": strict, "blocks": "blocks" in name,
                "counts": str(counts), "priors": dict.fromkeys(names, str(prior)),
                "after": f"{MODES[mode].after[-1]}{'' if strict else FLOAT32}" if MODES[mode].after else "",
            }  # fmt: skip
    return jobs


NAMES = tuple(trainings(Path(), Path()))
SEVERAL = [(name, count) for name in NAMES for count in COUNTS[1:] if count == 2 or FLOAT32 not in name]


_done: list[Path] = []


@pytest.fixture
def together(tmp_path_factory: pytest.TempPathFactory, tiny_counts: Any, tiny_prior: Any) -> Path:
    """The folder with all trainings, by number of processes and name; made by the first test that asks."""
    if not _done:
        folder = tmp_path_factory.mktemp("together")
        job = folder / "trainings.json"
        jobs = trainings(tiny_counts(), tiny_prior([f"G{i:04d}" for i in range(60)]))
        for count in COUNTS:  # float32, which is what users run, by one and by two: it takes half of the time
            wanted = {name: what for name, what in jobs.items() if count < 4 or what["strict"]}
            job.write_text(json.dumps(wanted))
            launch([str(WORKER), str(job), str(folder / str(count))], count, 600)
        _done.append(folder)
    return _done[0]


def state_of(path: Path) -> dict[str, np.ndarray]:
    state = torch.load(path, weights_only=True)["state"]
    return {name: value.numpy() for name, value in state.items() if value.is_floating_point()}


@pytest.mark.parametrize(("name", "count"), SEVERAL)
def test_curves_and_parameters_are_those_of_one_process(together: Path, name: str, count: int):
    histories = [pd.read_parquet(together / str(n) / name / "history.parquet") for n in (1, count)]
    assert list(histories[0].columns) == list(histories[1].columns)
    assert histories[0]["is_best"].equals(histories[1]["is_best"])
    one, several = (history.drop(columns="is_best").to_numpy(float) for history in histories)
    largest = np.abs(one).max(0)  # of each column, as some parts of a loss come near zero
    apart = np.abs(several - one).max(0) / np.where(largest > 0, largest, 1)
    strict = FLOAT32 not in name
    assert apart.max() < (STRICT if strict else PLAIN), dict(zip(histories[0].columns, apart, strict=False))
    if strict:
        a, b = (state_of(together / str(n) / name / "model.pt") for n in (1, count))
        far = {key: np.abs(a[key] - b[key]).max() / max(np.abs(a[key]).max(), 1e-3) for key in a if a[key].size}
        assert max(far.values()) < STRICT, far


@pytest.mark.parametrize(("name", "count"), SEVERAL)
def test_every_process_ends_with_the_same_bytes(together: Path, name: str, count: int):
    folder = together / str(count) / name
    written = (folder / "model.pt").read_bytes()
    assert [(folder / f"rank{rank}.pt").read_bytes() == written for rank in range(count)] == [True] * count
    notes = [json.loads((folder / f"notes{rank}.json").read_text()) for rank in range(count)]
    assert [note["differing"] for note in notes] == [[]] * count


@pytest.mark.parametrize(("name", "count"), [*((name, 1) for name in NAMES), *SEVERAL])
def test_each_cell_is_seen_once_an_epoch(together: Path, name: str, count: int):
    folder = together / str(count) / name
    notes = [json.loads((folder / f"notes{rank}.json").read_text())["seen"] for rank in range(count)]
    for split, n_cells in (("train", 84), ("val", 12)):
        for epoch in map(str, range(3)):
            rows = [row for note in notes for row in note[split].get(epoch, [])]
            assert len(rows) == len(set(rows)) == n_cells, (split, epoch)
