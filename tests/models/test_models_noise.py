"""Draws are functions of (seed, step) and of the cell, however a batch is shared out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.models.noise import Noise, NoiseOfRows

Draw = Callable[..., Tensor]
KINDS = {
    "normal": lambda noise, x: noise.for_cells(x),
    "uniform": lambda noise, x: noise.uniform_for_cells(x),
    "binomial": lambda noise, x: noise.binomial_for_cells(x, torch.full((1, 1), 0.4)),
}


@pytest.fixture
def counts() -> Tensor:
    return torch.poisson(torch.full((11, 30), 3.0), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_processes_draw_what_one_would(kind: str, counts: Tensor) -> None:
    draw: Draw = KINDS[kind]
    noise = Noise(5, 2, 0, 11)
    whole, second = draw(noise, counts), draw(noise, counts)
    assert not torch.equal(whole, second)  # the next draw of a step is another one
    for cut in ((0, 4, 11), (0, 3, 7, 11)):
        parts = [draw(Noise(5, 2, a, 11), counts[a:b]) for a, b in itertools.pairwise(cut)]
        assert torch.equal(torch.cat(parts), whole)
    for other in (Noise(6, 2, 0, 11), Noise(5, 3, 0, 11)):
        assert not torch.equal(draw(other, counts), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_draws_follow_rows_and_the_names_of_columns(kind: str, counts: Tensor) -> None:
    draw: Draw = KINDS[kind]
    rows, ranks = torch.arange(40, 51), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    noise = NoiseOfRows(rows, ranks)
    whole, second = draw(noise, counts), draw(noise, counts)
    assert not torch.equal(whole, second)
    some, order = torch.tensor([7, 0, 3]), torch.randperm(30, generator=torch.Generator().manual_seed(2))
    part = draw(NoiseOfRows(rows[some], ranks[order]), counts[some][:, order])
    assert torch.equal(part, whole[some][:, order])
    assert not torch.equal(draw(NoiseOfRows(rows + 1, ranks), counts), whole)
    if kind != "binomial":  # one number for each cell: no columns to go by
        assert torch.equal(
            draw(NoiseOfRows(rows, ranks), counts[:, :1]), draw(NoiseOfRows(rows, ranks.flip(0)), counts[:, :1])
        )


@pytest.mark.parametrize(
    "made", [lambda n: Noise(0, 0, 0, n), lambda n: NoiseOfRows(torch.arange(n), torch.arange(20))]
)
def test_distributions(made: Callable[[int], Noise | NoiseOfRows]) -> None:
    n = 2000
    noise, like = made(n), torch.zeros(n, 20)
    normal, uniform = noise.for_cells(like).numpy(), noise.uniform_for_cells(like).numpy()
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.02)
    assert (uniform.mean(), uniform.std()) == pytest.approx((0.5, 12**-0.5), abs=0.01)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert np.abs(np.corrcoef(normal[:, 0], normal[:, 1])[0, 1]) < 0.1
    share = torch.tensor([0.3, 0.9]).repeat(10)
    kept = noise.binomial_for_cells(torch.full((n, 20), 40.0), share.expand(n, -1)).numpy()
    assert kept.mean(0) == pytest.approx(40 * share.numpy(), rel=0.02)
    assert kept.var(0) == pytest.approx(40 * (share * (1 - share)).numpy(), rel=0.2)
    assert (kept == kept.round()).all() and kept.max() <= 40


def test_nothing_is_kept_of_nothing() -> None:
    empty = torch.zeros(3, 4)
    assert (Noise(0, 0, 0, 3).binomial_for_cells(empty, torch.ones(3, 1)) == 0).all()
    full = torch.full((3, 4), 7.0)
    assert torch.equal(Noise(0, 0, 0, 3).binomial_for_cells(full, torch.ones(3, 1)), full)
    assert (Noise(0, 0, 0, 3).binomial_for_cells(full, torch.zeros(3, 1)) == 0).all()
