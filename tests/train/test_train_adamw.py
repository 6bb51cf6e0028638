"""The fused step against torch.optim."""

from __future__ import annotations

import torch
from torch import nn

from sclamp.train.adamw import AdamW


def _parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((40, 7), (7,), (3,))]


def _set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in parameters[:-1]:  # the last one never has a gradient
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_equals_torch_bit_for_bit_with_decay_and_changing_rate():
    ours, theirs = _parameters(), _parameters()
    own = AdamW(ours, 1e-2, 0.1)
    reference = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.1, fused=True)
    for step in range(20):
        own.learning_rate = reference.param_groups[0]["lr"] = 1e-2 * 0.9**step
        own.clear_gradients()
        _set_gradients(ours, step)
        _set_gradients(theirs, step)
        own.step(skip=torch.zeros(()))
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(ours[2], _parameters()[2])


def test_a_skipped_step_changes_nothing():
    parameters, twin = _parameters(), _parameters()
    one, other = AdamW(parameters, 1e-2, 0.0), AdamW(twin, 1e-2, 0.0)
    for step, skip in enumerate((0.0, 1.0, 1.0, 0.0)):
        _set_gradients(parameters, step)
        if skip:
            parameters[0].grad.fill_(float("nan"))
        one.step(skip=torch.tensor(skip))
        if not skip:
            _set_gradients(twin, step)
            other.step(skip=torch.tensor(0.0))
    assert all(torch.equal(a, b) for a, b in zip(parameters, twin, strict=True))


def test_state_can_be_taken_over():
    parameters, twin = _parameters(), _parameters()
    one = AdamW(parameters, 1e-2, 0.0)
    _set_gradients(parameters, 0)
    one.step(skip=torch.zeros(()))
    other = AdamW(twin, 1e-2, 0.0)
    other.load_state(one.to_state())
    for p, q in zip(parameters, twin, strict=True):
        q.data.copy_(p)
    for each, optimiser in ((parameters, one), (twin, other)):
        _set_gradients(each, 1)
        optimiser.step(skip=torch.zeros(()))
    assert all(torch.equal(a, b) for a, b in zip(parameters, twin, strict=True))
