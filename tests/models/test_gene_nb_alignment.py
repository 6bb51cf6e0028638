"""What aligns batches: the adversary, the maximum mean discrepancy, BatchNorm by batch; against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sclamp.models.alignment import KERNELS, Adversary, discrepancy
from sclamp.models.batchwise_norm import MOMENTUM, BatchwiseNorm

CELLS = 12
BATCHES = torch.arange(CELLS) % 3


def test_adversary_learns_what_its_input_hides():
    adversary = Adversary(3, 3)
    z = torch.randn(CELLS, 3, requires_grad=True)
    plain = nn.functional.cross_entropy(adversary.classifier(z), BATCHES)
    expected = torch.autograd.grad(plain, [z, *adversary.parameters()])
    loss = adversary(z, BATCHES)
    found = torch.autograd.grad(loss, [z, *adversary.parameters()])
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-6)
    assert found[0].numpy() == pytest.approx(-expected[0].numpy(), abs=1e-7)
    assert all(np.allclose(a, b, atol=1e-7) for a, b in zip(found[1:], expected[1:], strict=True))
    unknown = torch.cat([BATCHES, torch.tensor([-1, -1])])
    with torch.no_grad():
        assert float(adversary(torch.cat([z, z[:2]]), unknown)) == pytest.approx(float(plain.detach()), rel=1e-6)


def test_discrepancy_is_the_mean_over_pairs_of_batches():
    rng = np.random.default_rng(0)
    z, codes = rng.normal(size=(30, 2)), rng.integers(0, 3, 30)
    z[codes == 2] += 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        squares = np.square(a[:, None] - b[None]).sum(-1)
        return float(sum(np.exp(-squares / (2 * 2 * width)) for width in KERNELS).mean())

    parts = [z[codes == code] for code in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [kernel(parts[a], parts[a]) + kernel(parts[b], parts[b]) - 2 * kernel(parts[a], parts[b]) for a, b in pairs]
    found = discrepancy(torch.from_numpy(z), torch.from_numpy(codes), 3)
    assert float(found) == pytest.approx(np.mean(each), rel=1e-9)
    alone = discrepancy(torch.from_numpy(z[codes != 1]), torch.from_numpy(codes[codes != 1]), 3)
    assert float(alone) == pytest.approx(each[1], rel=1e-9)
    assert float(discrepancy(torch.from_numpy(parts[0]), torch.zeros(len(parts[0]), dtype=torch.int64), 3)) == 0


def test_batchwise_norm_is_a_batch_norm_for_each_batch():
    x, shares = torch.randn(CELLS, 5), torch.eye(3)[BATCHES]
    norm = BatchwiseNorm(5, 3)
    alone = [nn.BatchNorm1d(5, eps=1e-3, momentum=MOMENTUM) for _ in range(3)]
    for _ in range(2):
        found = norm(x, shares)
        for code, each in enumerate(alone):
            expected = each(x[code == BATCHES])
            assert found[code == BATCHES].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    norm.eval()
    for code, each in enumerate(alone):
        expected = each.eval()(x[code == BATCHES]).detach()
        assert norm(x, shares)[code == BATCHES].detach().numpy() == pytest.approx(expected.numpy(), abs=1e-5)
        assert norm.running_var[code].numpy() == pytest.approx(each.running_var.numpy(), rel=1e-5)
    mean, variance = norm.running_mean.mean(0), norm.running_var.mean(0)
    unknown = norm(x, torch.full((CELLS, 3), 1 / 3)).detach()
    assert unknown.numpy() == pytest.approx(((x - mean) / (variance + 1e-3).sqrt()).numpy(), abs=1e-5)


def test_batchwise_norm_of_a_single_cell_uses_what_was_seen():
    norm = BatchwiseNorm(5, 3)
    x, shares = torch.randn(4, 5), torch.eye(3)[torch.tensor([0, 0, 0, 1])]
    found = norm(x, shares).detach()
    assert found[3].numpy() == pytest.approx((x[3] / (1 + 1e-3) ** 0.5).numpy(), abs=1e-5)
    assert torch.equal(norm.running_mean[1:], torch.zeros(2, 5))
