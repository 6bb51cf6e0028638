"""The loop on a small model: the same numbers as a plain loop, best checkpoint, early stopping, bad losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sclamp.config.base import TrainingSettings
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.data.stream import cut, epoch_order
from sclamp.models.base import GradientModel
from sclamp.train.loop import NotFinite, Training
from sclamp.types import Batch, Progress

CPU = torch.device("cpu")


class Linear(GradientModel):
    """A linear autoencoder with one latent; `script` replaces the validation loss of each epoch."""

    def __init__(self, settings: Any, data: Any) -> None:
        super().__init__(settings, data)
        self.script: list[float] | None = None
        self.first = 0
        self.encoder, self.decoder = nn.Linear(data.n_genes, 3), nn.Linear(3, data.n_genes)

    def wants(self) -> frozenset[Any]:
        return frozenset({"scaled"})

    def embed_cells(self, batch: Batch) -> Tensor:
        return self.encoder(batch.scaled)

    def first_checkpoint_epoch(self) -> int:
        return self.first

    def loss(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        error = (self.decoder(self.encoder(batch.scaled)) - batch.scaled).square().sum(1).mean()
        if self.script and progress.validation:
            error = error * 0 + self.script[progress.epoch]
        return {"loss": error, "error": error * 1, "beta": torch.tensor(0.5)}


@pytest.fixture
def prepared(tiny_counts: Callable[..., Path]) -> Callable[..., tuple[Linear, Batches, TrainingSettings]]:
    def make(**settings: Any) -> tuple[Linear, Batches, TrainingSettings]:
        path = tiny_counts()
        data = describe(path, {})
        torch.manual_seed(11)
        chosen = TrainingSettings(**{"mode": "toy", "batch_size": 16, "learning_rate": 0.01, **settings})
        model = Linear(chosen, data)
        return model, Batches(read_inputs(path, data), model.wants(), CPU), chosen

    return make


def test_equals_a_plain_loop(prepared: Callable[..., Any]):
    model, batches, settings = prepared(max_epochs=4, weight_decay=0.1, gradient_clip=2.0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    history = Training(model, batches, settings, seed=5).run()

    inputs = batches.inputs
    x = torch.cat([batch.scaled for batch in batches.batches(None)])
    model.load_state_dict(start)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    losses = []
    for epoch in range(4):
        optimiser.param_groups[0]["lr"] = 0.01 * 0.99**epoch
        total = 0.0
        for rows in cut(epoch_order(inputs.rows("train"), 5, epoch), 16):
            optimiser.zero_grad()
            cells = x[rows]
            loss = (model.decoder(model.encoder(cells)) - cells).square().sum() / len(cells)
            loss.backward()
            norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters()))
            for p in model.parameters():
                p.grad *= min(1.0, 2.0 / (float(norm) + 1e-6))
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        cells = x[inputs.rows("val")]
        with torch.no_grad():
            val = float((model.decoder(model.encoder(cells)) - cells).square().sum() / len(cells))
        losses.append((total / len(inputs.rows("train")), val))
    found = np.array([(row["train_loss"], row["val_loss"]) for row in history])
    assert found == pytest.approx(np.array(losses), rel=1e-5)
    assert [row["learning_rate"] for row in history] == pytest.approx([0.01 * 0.99**e for e in range(4)])
    assert set(history[0]) == {
        "epoch", "train_loss", "train_error", "beta", "val_loss", "val_error", "learning_rate", "is_best",
    }  # fmt: skip
    assert history[0]["beta"] == 0.5


@pytest.mark.parametrize(
    ("script", "settings", "first", "epochs", "kept"),
    [
        pytest.param([5, 4, 3, 4, 4, 4, 4], {"patience": 3}, 0, 6, 2, id="stops after patience validations"),
        pytest.param([5, 4, 4.5, 3.5, 4, 4, 4], {"patience": 3}, 0, 7, 3, id="an improvement resets the patience"),
        pytest.param([5, 4.9, 4.8, 4.7, 4.6, 4.5], {"patience": 2, "min_delta": 1.0}, 0, 3, 2, id="min_delta"),
        pytest.param([1, 1, 9, 8, 7, 8, 8, 8], {"patience": 2}, 2, 7, 4, id="nothing counts before the first epoch"),
        pytest.param(
            [9, 8, 7], {"patience": 1, "max_epochs": 3}, 3, 3, 2, id="no checkpoint allowed: the last is used"
        ),
        pytest.param(
            [1, 5, 1, 4, 1, 4, 1], {"validate_every": 2, "patience": 1, "max_epochs": 7}, 0, 6, 3, id="every 2"
        ),
        pytest.param([1, 5, 1], {"validate_every": 2, "max_epochs": 3}, 0, 3, 2, id="the last epoch is validated"),
        pytest.param([3, 3, 3], {"patience": 2}, 0, 3, 0, id="an equal loss is no improvement"),
    ],
)
def test_which_epoch_is_kept(
    prepared: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
    script: list[float],
    settings: dict[str, Any],
    first: int,
    epochs: int,
    kept: int,
):
    model, batches, settings = prepared(**{"max_epochs": len(script), **settings})
    model.script, model.first = script, first
    seen: list[Tensor] = []
    training = Training(model, batches, settings, seed=0)
    training.report.epoch = lambda row, best, waited: seen.append(model.encoder.weight.detach().clone())
    history = training.run()
    assert len(history) == epochs
    assert [row["epoch"] for row in history if row["is_best"]] == [kept]
    assert torch.equal(model.encoder.weight, seen[kept])
    assert ("no checkpoint was chosen" in capfd.readouterr().err) == (first >= epochs)
    assert not model.training


def test_epochs_without_validation_leave_gaps(prepared: Callable[..., Any]):
    model, batches, settings = prepared(max_epochs=4, validate_every=2)
    history = Training(model, batches, settings, seed=0).run()
    assert [row["val_loss"] is None for row in history] == [True, False, True, False]


def test_a_bad_loss_stops_before_the_step_and_names_the_cells(prepared: Callable[..., Any]):
    model, batches, settings = prepared(max_epochs=3)
    inputs, seen = batches.inputs, []
    plan = cut(epoch_order(inputs.rows("train"), 0, 1), 16)
    bad_cell = int(plan[2][4])
    plain = model.loss

    def poisoned(batch: Batch, progress: Progress) -> dict[str, Tensor]:
        parts = plain(batch, progress)
        if progress.epoch == 1 and not progress.validation and bad_cell in batch.rows.tolist():
            parts["loss"] = parts["loss"] * math.nan
        elif not progress.validation:
            seen.append(model.encoder.weight.detach().clone())
        return parts

    model.loss = poisoned
    training = Training(model, batches, settings, seed=0)
    with pytest.raises(NotFinite, match="epoch 1, step 2") as caught:
        training.run()
    assert all(str(inputs.cell_ids[row]) in str(caught.value) for row in plan[2][:10])
    assert f"({len(plan[2])} in all)" in str(caught.value)
    assert torch.isfinite(model.encoder.weight).all()
    assert training.take_best()
    assert torch.equal(model.encoder.weight, seen[len(plan)])  # of epoch 0


def test_a_bad_validation_loss_stops(prepared: Callable[..., Any]):
    model, batches, settings = prepared(max_epochs=3)
    model.script = [1.0, math.inf, 1.0]
    with pytest.raises(NotFinite, match=r"validation loss after epoch 1 .* is inf"):
        Training(model, batches, settings, seed=0).run()


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        ((0.0, 0.5), "no training cells"),
        ((0.5, 0.0), "no validation cells"),
        ((1 / 120, 0.5), "a single training cell"),
    ],
)
def test_splits_that_cannot_train(tiny_counts: Callable[..., Path], splits: tuple[float, float], problem: str):
    path = tiny_counts(splits=(*splits, 0.0))
    data = describe(path, {})
    settings = TrainingSettings(mode="toy")
    model = Linear(settings, data)
    with pytest.raises(UserError, match=problem):
        Training(model, Batches(read_inputs(path, data), model.wants(), CPU), settings, seed=0)


def test_bf16_keeps_parameters_in_float32_and_learns(prepared: Callable[..., Any]):
    model, batches, settings = prepared(max_epochs=5, precision="bf16")
    history = Training(model, batches, settings, seed=0).run()
    assert model.encoder.weight.dtype == torch.float32
    assert history[-1]["val_loss"] < 0.95 * history[0]["val_loss"]


def test_a_seed_decides_everything(prepared: Callable[..., Any]):
    results = []
    for seed in (1, 1, 2):
        model, batches, settings = prepared(max_epochs=2)
        Training(model, batches, settings, seed=seed).run()
        results.append(model.encoder.weight.detach().clone())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_order_is_a_permutation_that_changes_with_epoch_and_seed():
    rows = np.arange(1000) * 2
    orders = [epoch_order(rows, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == rows.tolist() for order in orders)
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[3])
