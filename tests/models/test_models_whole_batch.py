"""Layers over cells, on a batch that lies in two parts; `test_train_distributed_modes` runs them in real processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sclamp.models.blocks import LayerStyle, hidden_layer
from sclamp.models.whole_batch import BatchNorm, Dropout, part_of_batch, whole_moments


class Known:
    """Stands for the other processes: sums are known beforehand."""

    def __init__(self, others: Callable[[], Tensor], own: int, total: int) -> None:
        self._others, self.own, self.total = others, own, total

    def sum(self, values: Tensor) -> Tensor:
        return values + self._others()


def test_dropout_of_parts_is_that_of_the_whole_and_of_torch():
    x = torch.randn(11, 5)
    ours, theirs = Dropout(0.4).train(), nn.Dropout(0.4).train()
    torch.manual_seed(1)
    expected = theirs(x)
    found = []
    for start, end in ((0, 11), (0, 4), (4, 11)):
        torch.manual_seed(1)
        with part_of_batch(start, end - start, 11):
            found.append(ours(x[start:end]))
    assert torch.equal(found[0], expected)
    assert torch.equal(torch.cat(found[1:]), expected)
    with part_of_batch(0, 4, 11):
        assert torch.equal(ours.eval()(x[:4]), x[:4])


def test_moments_of_groups_on_two_processes_and_of_an_empty_group():
    torch.manual_seed(0)
    x = 1000 + torch.randn(9, 3, dtype=torch.float64).float()

    def of(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = torch.tensor([[float(len(part))], [0.0]])
        mean = torch.stack([part.mean(0), torch.zeros(3)])
        return size, mean, torch.stack([part.var(0, correction=0), torch.zeros(3)])

    size, mean, variance = (each.double() for each in of(x[4:]))
    rest = torch.cat([size, size * mean, size * (variance + mean.square())], 1)
    found = whole_moments(*of(x[:4]), Known(lambda: rest, 4, 9))
    for value, expected in zip(found, of(x), strict=True):
        assert value.dtype == torch.float32
        assert value.numpy() == pytest.approx(expected.numpy(), rel=2e-4)


def test_batch_norm_on_one_process_is_that_of_torch():
    ours, theirs, x = BatchNorm(3).train(), nn.BatchNorm1d(3).train(), torch.randn(6, 3)
    with part_of_batch(0, 6, 6):
        assert torch.equal(ours(x), theirs(x))
    assert {n: v.tolist() for n, v in ours.state_dict().items()} == {
        n: v.tolist() for n, v in theirs.state_dict().items()
    }


def test_a_bias_before_batch_norm_rests():
    layer = hidden_layer(4, 3, LayerStyle(batch_norm=True))[0]
    assert not layer.bias.requires_grad
    assert layer.weight.requires_grad
    assert hidden_layer(4, 3, LayerStyle())[0].bias.requires_grad
