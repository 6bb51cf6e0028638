"""A step of a count model on a GPU: the CPU asks the device nothing, and the numbers are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from sclamp.config.registry import model_class, settings_class
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.data.placement import Placement
from sclamp.train.loop import Training
from sclamp.types import Progress

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def _training(path: Path, device: str, **settings: object) -> Training:
    chosen = settings_class("scvi").model_validate(
        {"mode": "scvi", "max_epochs": 2, "batch_size": 16, "hidden_dims": [16], "latent_dim": 3, "dropout": 0.0}
        | settings
    )
    data = describe(path, {})
    torch.manual_seed(0)
    model = model_class("scvi")(chosen, data).to(device)
    batches = Batches(read_inputs(path, data), model.wants(), torch.device(device), Placement(True, None, ""))
    return Training(model, batches, chosen, seed=0)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_steps_of_an_epoch_wait_for_nothing(
    tiny_counts: Callable[..., Path], request: pytest.FixtureRequest, precision: str
):
    training = _training(tiny_counts(), "cuda", precision=precision)
    plan = [training.train_rows[:16], training.train_rows[16:40]]
    training.model.train()
    for batch in training.batches.of(plan):  # a first time, in which libraries start
        training._step(training._gradients([batch], (0, len(batch), len(batch)), 0), len(batch))
    request.getfixturevalue("no_waiting")
    for number, batch in enumerate(training.batches.of(plan)):
        training._step(training._gradients([batch], (0, len(batch), len(batch)), number), len(batch))


@needs_gpu
@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_the_loss_and_its_gradients_are_those_of_the_cpu(tiny_counts: Callable[..., Path], likelihood: str):
    path, found = tiny_counts(), {}
    for device in ("cpu", "cuda"):
        training = _training(path, device, likelihood=likelihood)
        batch = next(iter(training.batches.of([training.train_rows[:32]])))
        training.model.eval()
        loss = training.model.loss(batch, Progress(0, 2))["loss"]
        loss.backward()
        found[device] = loss.item(), [p.grad.cpu() for p in training.parameters if p.grad is not None]
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=1e-5)
    for ours, theirs in zip(found["cuda"][1], found["cpu"][1], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
