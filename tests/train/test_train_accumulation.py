"""Steps in parts: the gradients and the curve of whole steps, and a training that goes on when memory runs out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sclamp.config.registry import MODES, model_class, settings_class
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_gene_priors, read_inputs
from sclamp.train.loop import Training
from sclamp.train.resume import Resume
from sclamp.train.shortage import in_parts, is_out_of_memory, more_parts, shortage_in_words, whole_batch_because

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL: dict[str, dict[str, Any]] = {
    "ppca": {"latent_dim": 3, "initialisation": "random"},
    "logistic_regression": {},
    "socam": {"label_terms": {"alpha": "CL:0000171", "beta": "CL:0000169", "delta": "CL:0000173"}},
    **{
        mode: {"latent_dim": 3, "hidden_dims": [12, 8], "dropout": 0.2, "input_dropout": 0.2}
        for mode in ("beta_vae", "direct", "stepwise", "stepwise_genes", "self_informed")
    },
    "scvi": {"latent_dim": 3, "hidden_dims": [12], "encoder_norm": "layer", "decoder_norm": "layer", "dropout": 0.2},
}
WHOLE: dict[str, dict[str, Any]] = {
    "contrastive": {"latent_dim": 3, "hidden_dims": [12]},
    "contrastive without BatchNorm": {"latent_dim": 3, "hidden_dims": [12], "batch_norm": False},
    "gene_nb": {"latent_dim": 3, "hidden_dims": [12], "encoder_norm": "layer", "decoder_norm": "layer"},
    "scvi": {"latent_dim": 3, "hidden_dims": [12]},
    "beta_vae": {"latent_dim": 3, "hidden_dims": [12], "batch_norm": True},
    "stepwise_genes": {"latent_dim": 3, "hidden_dims": [12], "batch_norm": True},
}


@pytest.fixture
def training(
    tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path], tmp_path: Path
) -> Callable[..., Training]:
    """Factory of trainings of a mode on the small data, each on the same data and from the same parameters."""

    def make(mode: str, device: str = "cpu", resume: Resume | None = None, **settings: Any) -> Training:
        path, of_mode = tiny_counts(), settings_class(mode)
        reads = "gene_priors" in of_mode.model_fields
        priors = read_gene_priors({"text": tiny_prior([f"G{i:04d}" for i in range(60)])} if reads else {})
        given = {"mode": mode, "batch_size": 27, "max_epochs": 2, **({"gene_priors": ["text"]} if reads else {})}
        chosen = of_mode.model_validate({**given, **settings})
        data = describe(path, priors)
        torch.manual_seed(3)
        model = model_class(mode)(chosen, data)
        model.load_gene_priors({name: torch.tensor(matrix) for name, (_, matrix) in priors.items()})
        inputs = read_inputs(path, data)
        model.see_labels(*(torch.from_numpy(inputs.label[inputs.rows(split)]) for split in ("train", "val")))
        return Training(model.to(device), Batches(inputs, model.wants(), torch.device(device)), chosen, 7, resume)

    return make


def gradients(training: Training, parts: int) -> tuple[float, dict[str, torch.Tensor]]:
    rows = training.train_rows[5:32]
    training.model.train()
    found = training._gradients(training.batches.of(in_parts(rows, parts)), (0, len(rows), len(rows)), number=4)
    loss = sum(float(values["loss"]) * n for values, n in found) / len(rows)
    named = training.model.named_parameters()
    return loss, {name: p.grad.clone() for name, p in named if p.grad is not None}


def test_every_mode_is_either_done_in_parts_or_said_to_need_the_whole_batch():
    assert {mode for mode in MODES if MODES[mode].gradient} == {name.split()[0] for name in [*SMALL, *WHOLE]}


@pytest.mark.parametrize("mode", SMALL)
def test_gradients_of_parts_add_up_to_those_of_the_whole(training: Callable[..., Training], mode: str):
    """With dropout and noise: parts draw what the whole would have drawn."""
    made = training(mode, **SMALL[mode])
    assert whole_batch_because(made.model.train()) is None
    loss, whole = gradients(made, 1)
    for parts in (2, 4):
        again, sums = gradients(made, parts)
        assert again == pytest.approx(loss, rel=1e-5)
        assert sums.keys() == whole.keys()
        for name, value in whole.items():
            assert torch.allclose(sums[name], value, rtol=1e-4, atol=2e-5 * float(value.abs().max()) + 1e-7), name


@pytest.mark.parametrize("name", WHOLE)
def test_modes_that_need_the_whole_batch_stop_with_advice(training: Callable[..., Training], name: str):
    made = training(name.split()[0], **WHOLE[name])
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
    with pytest.raises(UserError) as caught:
        more_parts(error, made.model.train(), made.settings, 27, 1)
    assert re.fullmatch(
        r"memory: there was too little \(CUDA out of memory\. Tried to allocate 2\.00 GiB\)\. A step had 27 cells at "
        r"once; it cannot be done in parts: (the loss of mode 'contrastive' compares the cells of a batch with each "
        r"other|layer '[\w.]+' \(\w+\) takes statistics over the whole batch)\. What helps: a smaller batch_size, .*\.",
        str(caught.value),
    )


def test_parts_of_modes_that_need_the_whole_batch_would_be_another_training(training: Callable[..., Training]):
    for name in ("contrastive", "scvi"):
        made = training(name, **WHOLE[name])
        whole, parts = (gradients(made, count)[1] for count in (1, 2))
        assert any(not torch.allclose(parts[key], whole[key], rtol=1e-2, atol=1e-4) for key in whole)


@pytest.mark.parametrize(
    ("settings", "cells", "parts", "end"),
    [
        (
            {"out_of_memory": "stop"},
            64,
            1,
            "A step had 64 cells at once; `out_of_memory: accumulate` would do it in parts",
        ),
        ({}, 3, 3, "A step had 1 cells at once; a single cell is too much"),
    ],
)
def test_where_it_ends(training: Callable[..., Training], settings: dict[str, Any], cells: int, parts: int, end: str):
    made = training("ppca", **SMALL["ppca"], **settings)
    with pytest.raises(UserError, match=re.escape(end)):
        more_parts(MemoryError(), made.model, made.settings, cells, parts)


def test_other_errors_are_not_taken_for_a_shortage(training: Callable[..., Training]):
    made = training("ppca", **SMALL["ppca"])
    with pytest.raises(RuntimeError, match="shapes"):
        more_parts(RuntimeError("shapes do not fit"), made.model, made.settings, 64, 1)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)  # what the CPU's allocator says
    assert [more_parts(caught.value, made.model, made.settings, 64, parts) for parts in (1, 2, 48)] == [2, 4, 64]


def test_a_shortage_elsewhere_is_told_in_words():
    with pytest.raises(UserError) as caught, shortage_in_words():
        torch.empty(1 << 60)
    assert re.fullmatch(
        r"memory: there was too little \(.*can't allocate memory.*\)\. What helps: a smaller batch_size, .*\.",
        str(caught.value),
    )
    with pytest.raises(RuntimeError, match="another"), shortage_in_words():
        raise RuntimeError("another")


def short_of_memory(made: Training, most: int) -> Training:
    """Batches of more than `most` cells run out of memory, in training and in validation."""
    whole = made.model.loss

    def loss(batch: Any, progress: Any) -> Any:
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(batch, progress)

    made.model.loss = loss  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("mode", ["beta_vae", "scvi"])
def test_the_curve_is_that_of_whole_steps(
    training: Callable[..., Training], mode: str, capfd: pytest.CaptureFixture[str]
):
    settings = {**SMALL[mode], "max_epochs": 4, "learning_rate": 3e-3, "gradient_clip": 5.0}
    whole, parts = training(mode, **settings), short_of_memory(training(mode, **settings), most=7)
    curves = [pd.DataFrame(made.run()) for made in (whole, parts)]
    assert "parts" not in curves[0].columns
    assert list(curves[1].pop("parts")) == [4] * 4
    assert list(curves[1].columns) == list(curves[0].columns)
    assert curves[1].to_numpy(float) == pytest.approx(curves[0].to_numpy(float), rel=2e-4, abs=1e-6)
    said = capfd.readouterr().err
    for count in (2, 4):
        assert (
            "memory: it ran out in epoch 0, step 0 (from 0); from here on batches are done in "
            f"{count} parts, with the same result but for rounding\n"
        ) in said


def test_a_failed_step_changes_nothing(training: Callable[..., Training]):
    made = training("beta_vae", **SMALL["beta_vae"])
    made._train_epoch()
    made._end_epoch()
    made.model.train()

    def state() -> dict[str, np.ndarray]:
        saved = made._state()
        moments = {f"{k}{i}": t for k, tensors in saved["optimizer"].items() for i, t in enumerate(tensors)}
        return {k: v.detach().numpy().copy() for k, v in {**saved["model"], **moments}.items()}

    before, standing = state(), {k: v for k, v in made.standing.to_state().items() if k != "parts"}
    short_of_memory(made, most=20)
    plan = [made.train_rows[:27]]
    made._steps(plan)  # comes back at the step that failed
    assert made.standing.parts == 2
    after = state()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert {k: v for k, v in made.standing.to_state().items() if k != "parts"} == standing
    assert all(p.grad is None for p in made.parameters)


def test_a_resumed_training_goes_on_in_as_many_parts(training: Callable[..., Training], tmp_path: Path):
    settings = {**SMALL["beta_vae"], "max_epochs": 3}
    through = short_of_memory(training("beta_vae", **settings), most=14)
    history = through.run()
    resume = Resume(tmp_path / "resume.pt", {})
    cut = short_of_memory(training("beta_vae", resume=resume, **settings), most=14)
    cut._train_epoch()
    cut._end_epoch()
    resume.save(cut._state())
    rest = training("beta_vae", resume=Resume(tmp_path / "resume.pt", {}), **settings)  # with memory enough
    assert rest.run() == history
    assert rest.standing.parts == 2
    assert all(torch.equal(a, b) for a, b in zip(rest.parameters, through.parameters, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_that_runs_out_of_memory(training: Callable[..., Training], capfd: pytest.CaptureFixture[str]):
    settings = {**SMALL["beta_vae"], "hidden_dims": [200_000], "batch_size": 64, "max_epochs": 1}
    whole = pd.DataFrame(training("beta_vae", "cuda", **settings).run())
    taken = torch.cuda.max_memory_allocated()
    made = training("beta_vae", "cuda", **settings)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_allocated() + 0.7 * (taken - torch.cuda.memory_allocated())
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        parts = pd.DataFrame(made.run())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert parts.pop("parts")[0] > 1
    assert parts.to_numpy(float) == pytest.approx(whole.to_numpy(float), rel=1e-3)
    assert "memory: it ran out in epoch 0" in capfd.readouterr().err
