"""The estimate of a training's memory against the kernel's count, and what is said of it before the first step."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sclamp.config.base import TrainingSettings
from sclamp.config.registry import model_class, settings_class
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.train.loop import Training
from sclamp.train.memory import Needs, _Peak, along, bytes_of, estimate, measured, parts_that_fit, parts_to_begin_with
from sclamp.train.shortage import ADVICE

CPU = torch.device("cpu")
MB = 1_000_000
NEEDS = Needs(
    model=4 * MB, data=9 * MB, gradients=4 * MB, moments=8 * MB, best=4 * MB, steps={8: 20 * MB, 64: 132 * MB},
    validation=30 * MB,
)  # fmt: skip
NUMBERS = (
    "about 144.0 MB are needed beside the model (4.0 MB) and the data (9.0 MB): 132.0 MB for a step on 64 cells, "
    "4.0 MB of it gradients, or 34.0 MB for validation; 8.0 MB for AdamW's moments; 4.0 MB for the best parameters"
)


@pytest.fixture
def training(tiny_counts: Callable[..., Path]) -> Callable[..., Training]:
    """Factory of trainings on the small data."""

    def make(mode: str, **settings: Any) -> Training:
        path = tiny_counts()
        chosen = settings_class(mode).model_validate({"mode": mode, "batch_size": 64, "max_epochs": 2, **settings})
        data = describe(path, {})
        torch.manual_seed(0)
        model = model_class(mode)(chosen, data)
        return Training(model, Batches(read_inputs(path, data), model.wants(), CPU), chosen, 0)

    return make


def test_tensors_that_live_at_once_are_counted():
    with _Peak() as peak:
        first = torch.zeros(1000)
        second = first + 1  # 8000 bytes
        view = second[:10]
        del first
        third = second * 2  # no more than before
        del second, third
        assert peak.live == 4000  # which `view` holds
        del view
    assert (peak.live, peak.peak) == (0, 8000)


def test_a_step_is_counted_with_its_gradients():
    layer, x = nn.Linear(1000, 500, bias=False), torch.randn(100, 1000)
    with _Peak() as peak:
        layer(x).square().sum().backward()
    made, gradient = 4 * 100 * 500, 4 * 1000 * 500
    assert peak.peak == gradient + made + 8  # what the layer made, or its gradient, and the loss with its own
    assert peak.live == gradient


def test_shared_memory_is_counted_once():
    x = torch.zeros(10)
    assert bytes_of({"a": [x, x[:5]], "b": (torch.zeros(2), None, "text")}) == 48


def test_few_cells_say_what_many_would_take():
    asked: list[int] = []

    def run(cells: int) -> int:
        asked.append(cells)
        return 1000 + 10 * cells

    found = measured(run, 1024, free=6_000)
    assert asked == [16, 64, 256]  # 512 would be above 0.7 of it
    assert along(found, 1024) == 1000 + 10 * 1024
    assert along(found, 40) == 1400
    assert list(measured(run, 1024, free=6_000, steep=True)) == [16, 64]  # 256 could need 16 times as much as 64
    assert list(measured(run, 1024, free=10**9)) == [16, 64, 256, 512, 1024]
    assert list(measured(run, 3, free=1)) == [2, 3]
    assert along({1: 7}, 1) == 7

    def short(cells: int) -> int:
        if cells > 64:
            raise torch.OutOfMemoryError
        return run(cells)

    assert list(measured(short, 1024, free=10**9)) == [16, 64]
    with pytest.raises(torch.OutOfMemoryError):
        measured(short, 10_000, free=10**9)


@pytest.mark.parametrize("mode", ["beta_vae", "scvi", "gene_nb", "contrastive", "ppca"])
def test_trying_leaves_no_trace(training: Callable[..., Training], mode: str):
    """The training after an estimate is the training without one, bit for bit."""
    states = []
    for tried in (False, True):
        made = training(mode, latent_dim=3, **({} if mode == "ppca" else {"hidden_dims": [12]}))
        torch.manual_seed(5)
        if tried:
            needs = estimate(made.model, made.batches, made.settings, 64, 10**9)
            assert needs.gradients < needs.step(64)
            assert needs.moments == 2 * needs.gradients
            assert all(p.grad is None for p in made.parameters)
        made.model.initialise(made.batches)
        drawn = torch.rand(3)
        history = made.run()
        states.append((history, drawn, made.model.state_dict()))
    assert states[0][0] == states[1][0]
    assert torch.equal(states[0][1], states[1][1])
    assert all(torch.equal(value, states[1][2][name]) for name, value in states[0][2].items())


@pytest.mark.parametrize(
    ("free", "end"),
    [
        (1000 * MB, "; 1.0 GB are free\n"),
        (150 * MB, "; 150.0 MB are free. This is tight: if it runs out, a smaller batch_size, precision: bf16,"),
        (120 * MB, "; 120.0 MB are free. This is tight"),
        (100 * MB, "; 100.0 MB are free, which is too little: batches are done in 2 parts, with the same result but"),
        (50 * MB, "; 50.0 MB are free, which is too little: batches are done in 4 parts, with the same result but"),
        (33 * MB, "; 33.0 MB are free, which is too little: batches are done in 8 parts, with the same result but"),
    ],
)
def test_what_is_said_before_the_first_step(
    training: Callable[..., Training], capfd: pytest.CaptureFixture[str], free: int, end: str
):
    made = training("ppca", latent_dim=3)
    capfd.readouterr()
    parts = parts_that_fit(NEEDS, made.model, made.settings, 64, free)
    said = capfd.readouterr().err
    assert said.startswith(f"memory: {NUMBERS}{end}")
    assert parts == (int(found[1]) if (found := re.search(r"in (\d+) parts", said)) else 1)
    assert parts == 1 or NEEDS.total(64, parts) <= free < NEEDS.total(64, parts // 2)


@pytest.mark.parametrize(
    ("mode", "settings", "free", "why"),
    [
        ("ppca", {"out_of_memory": "stop"}, 100, "`out_of_memory: stop`"),
        ("ppca", {}, 12, "a single cell is too much"),
        ("contrastive", {}, 100, "the loss of mode 'contrastive' compares the cells of a batch with each other"),
        ("scvi", {}, 100, "layer 'encoder.net.layers.0.norm' (BatchNorm) takes statistics over the whole batch"),
    ],
)
def test_a_training_that_cannot_fit_is_refused(
    training: Callable[..., Training], mode: str, settings: dict[str, Any], free: int, why: str
):
    made = training(mode, latent_dim=3, **settings)
    with pytest.raises(UserError) as caught:
        parts_that_fit(NEEDS, made.model, made.settings, 64, free * MB)
    assert str(caught.value) == (
        f"memory: {NUMBERS}; {free}.0 MB are free, which is too little. Batches cannot be done in parts: {why}. What "
        "helps: a smaller batch_size, precision: bf16, fewer genes (gene_selections), smaller hidden_dims, or one "
        "training per GPU (resources: {jobs_per_gpu: 1})."
    )


def test_only_what_clearly_cannot_fit_is_refused(training: Callable[..., Training]):
    made = training("ppca", latent_dim=3, out_of_memory="stop")
    total = NEEDS.total(64)
    assert parts_that_fit(NEEDS, made.model, made.settings, 64, round(total / 1.24)) == 1
    with pytest.raises(UserError):
        parts_that_fit(NEEDS, made.model, made.settings, 64, round(total / 1.26))
    assert parts_that_fit(replace(NEEDS, moments=0), made.model, made.settings, 64, round(total / 1.26)) == 1


def test_a_training_says_its_needs_when_it_starts(training: Callable[..., Training], capfd: pytest.CaptureFixture[str]):
    made = training("beta_vae", latent_dim=3, hidden_dims=[12])
    assert parts_to_begin_with(made) == 1
    number = r"[\d.]+ [GM]B"
    assert re.search(
        rf"memory: about {number} are needed beside the model \({number}\) and the data \({number}\): {number} for a "
        rf"step on 64 cells, {number} of it gradients, or {number} for validation; {number} for AdamW's moments; "
        rf"{number} for the best parameters; {number} are free\n",
        capfd.readouterr().err,
    )
    assert isinstance(made.settings, TrainingSettings)


def test_the_page_quotes_what_is_said(training: Callable[..., Training], capfd: pytest.CaptureFixture[str]):
    page = (Path(__file__).resolve().parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    made = training("ppca", latent_dim=3)
    capfd.readouterr()
    parts_that_fit(NEEDS, made.model, made.settings, 64, 1000 * MB)
    assert capfd.readouterr().err in page
    parts_that_fit(NEEDS, made.model, made.settings, 64, 50 * MB)
    assert capfd.readouterr().err.partition("parameters")[2].strip() in page
    assert ADVICE in page


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no count of peaks by the kernel")
@pytest.mark.parametrize("name", ["beta_vae", "direct", "scvi", "contrastive"])
def test_the_estimate_is_near_the_peak_that_the_kernel_saw(name: str):
    """See `memory_peaks`, which prints this for every mode."""
    import json

    import memory_peaks

    command = [sys.executable, memory_peaks.__file__, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=memory_peaks.PLAIN)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["whole"] == pytest.approx(found["truth"], rel=0.15)
    assert 0.35 * found["truth"] < found["small"] < 1.1 * found["truth"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["beta_vae", "scvi"])
def test_the_estimate_is_near_the_peak_of_a_gpu(tiny_counts: Callable[..., Path], mode: str):
    device, path = torch.device("cuda"), tiny_counts(n_cells=400, n_genes=2000)
    data = describe(path, {})
    chosen = settings_class(mode).model_validate({"mode": mode, "batch_size": 256, "max_epochs": 2})
    model = model_class(mode)(chosen, data).to(device)
    made = Training(model, Batches(read_inputs(path, data), model.wants(), device), chosen, 0)
    rows = made.train_rows[:256]
    for _ in range(2):  # a first time, in which libraries start
        made.optimizer.clear_gradients()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        made._gradients(made.batches.of([rows]), (0, 256, 256), 0)
    peak = torch.cuda.max_memory_allocated() - before
    assert estimate(model, made.batches, chosen, 256, 10**12).step(256) == pytest.approx(peak, rel=0.3)
