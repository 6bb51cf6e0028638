"""The fast likelihoods of counts against their plain definitions in float64: values, gradients, extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sclamp.models import sparse_likelihoods
from sclamp.models.likelihoods import dense_log_prob
from sclamp.models.sparse_likelihoods import LIKELIHOODS, softmax_log_prob
from sclamp.types import Entries

WAYS = ("kernel", "tensors", "cuda")
PARTS = ("logits", "log_theta", "dropout")
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "different": lambda value: torch.linspace(-1, 2, len(value), dtype=value.dtype, device=value.device),
    "minus the mean": lambda value: torch.full_like(value, -1 / len(value)),
    "three times the sum": lambda value: torch.full_like(value, 3),
}
"""Of the cells, in the sum whose gradients are compared."""


class Case:
    """Counts (n, g) and parameters; `way` is how they are computed."""

    def __init__(self, way: str, counts: Tensor, by: str = "gene", seed: int = 0, spread: float = 1.0) -> None:
        if way == "cuda" and not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        self.way, self.counts = way, counts.float()
        draw = torch.Generator().manual_seed(seed)
        n, g = counts.shape
        self.logits = torch.randn(n, g, generator=draw) * 2
        self.log_theta = torch.randn((g,) if by == "gene" else (n, g), generator=draw) * spread
        self.dropout = torch.randn(n, g, generator=draw)
        self.log_library = counts.sum(1).clamp_min(1).log().float()
        self.measured: Tensor | None = None
        self.weigh = WEIGHTS["different"]

    def fast(self, likelihood: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, dict[str, Tensor]]:
        """Log probabilities, and gradients of a weighted sum of them."""
        device = "cuda" if self.way == "cuda" else "cpu"
        leaves = {name: getattr(self, name).to(device, dtype, copy=True).requires_grad_() for name in PARTS}
        flat = self.counts.flatten()
        position = flat.nonzero().squeeze(1)
        entries = Entries(position.to(device), flat[position].to(device))
        measured = None if self.measured is None else self.measured.to(device)
        value = softmax_log_prob(
            likelihood, leaves["logits"], self.log_library.to(device, dtype), leaves["log_theta"], leaves["dropout"],
            entries, measured,
        )  # fmt: skip
        assert value.dtype == dtype
        (value * self.weigh(value)).sum().backward()
        return value.detach().cpu(), {name: x.grad.cpu() for name, x in leaves.items() if x.grad is not None}

    def plain(self, likelihood: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The same by the definitions, in float64."""
        leaves = {name: getattr(self, name).double().requires_grad_() for name in PARTS}
        logits = leaves["logits"]
        if self.measured is not None:
            logits = logits.masked_fill(~self.measured, -1e4)
        means = logits.log_softmax(1) + self.log_library.double().unsqueeze(1)
        value = dense_log_prob(
            likelihood, self.counts.double(), means, leaves["log_theta"], leaves["dropout"], self.measured
        )
        (value * self.weigh(value)).sum().backward()
        return value.detach(), {name: x.grad for name, x in leaves.items() if x.grad is not None}

    def check(self, likelihood: str, loss: float = 1e-6, gradient: float = 1e-4) -> None:
        """Loss and gradients agree, relative to the largest of their kind."""
        value, gradients = self.fast(likelihood)
        expected, expected_gradients = self.plain(likelihood)
        assert value.double().numpy() == pytest.approx(expected.numpy(), rel=loss, abs=loss)
        assert gradients.keys() == expected_gradients.keys()
        for name, wanted in expected_gradients.items():
            error = (gradients[name] - wanted).abs().max() / wanted.abs().max().clamp_min(1e-3)
            assert error < gradient, name


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "tensors":
        monkeypatch.setattr(sparse_likelihoods, "_kernel_can", lambda *_: False)
    return request.param


def counts_of(n: int = 20, g: int = 150, mean: float = 0.3, seed: int = 0) -> Tensor:
    """Counts of which most are zero, some beyond the table of the kernel."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.negative_binomial(0.2, 0.2 / (0.2 + mean * rng.lognormal(0, 2, g)), (n, g)))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("by", ["gene", "cell"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_values_and_gradients_are_those_of_the_definitions(way: str, likelihood: str, by: str, weights: str):
    counts = counts_of()
    counts[2, 3], counts[4, 5] = 100, 700  # beyond the table, and large
    assert (counts == 0).float().mean() > 0.6
    case = Case(way, counts, by)
    case.weigh = WEIGHTS[weights]
    case.check(likelihood)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_gradients_can_be_asked_for_twice(way: str, weights: str):
    case = Case(way, counts_of())
    leaf = case.logits.requires_grad_()
    value = softmax_log_prob("nb", leaf, case.log_library, case.log_theta, None, _none(), None)
    total = (value * WEIGHTS[weights](value)).sum()
    first, second = (torch.autograd.grad(total, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("by", ["gene", "cell"])
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_dispersion_from_almost_none_to_almost_all(way: str, likelihood: str, by: str):
    case = Case(way, counts_of(), by)
    theta = torch.logspace(math.log(1e-4), math.log(1e6), case.counts.shape[1], base=math.e).log()
    case.log_theta = theta if by == "gene" else theta.expand_as(case.counts).clone()
    case.check(likelihood)


@pytest.mark.parametrize("log_theta", [-60.0, 30.0])
def test_dispersion_beyond_what_numbers_hold_stays_finite(way: str, log_theta: float):
    case = Case(way, counts_of())
    case.log_theta = torch.full_like(case.log_theta, log_theta)
    case.check("nb", loss=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_counts_of_sixty_thousand(way: str, likelihood: str):
    counts = counts_of()
    counts[:, 3] = 60_000
    counts[4, 5] = 59_999
    Case(way, counts, "cell").check(likelihood)
    Case(way, counts).check(likelihood)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_cells_without_counts(way: str, likelihood: str):
    counts = counts_of()
    counts[[0, 7, 19]] = 0
    case = Case(way, counts)
    case.check(likelihood)
    case.log_library = counts.sum(1).float().log()  # -inf: such a cell expects nothing and says nothing
    value, gradients = case.fast(likelihood)
    assert all(torch.isfinite(x).all() for x in gradients.values()) and torch.isfinite(value).all()
    assert not gradients["logits"][7].any()
    if likelihood != "zinb":
        assert value[7] == 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_batch_without_any_count(way: str, likelihood: str):
    Case(way, torch.zeros(5, 30)).check(likelihood)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_genes_that_were_not_measured_have_no_part(way: str, likelihood: str):
    case = Case(way, counts_of())
    case.measured = torch.rand(case.counts.shape, generator=torch.Generator().manual_seed(1)) > 0.3
    assert (case.counts[~case.measured] > 0).any()  # ignored
    case.check(likelihood)
    _, gradients = case.fast(likelihood)
    assert not gradients["logits"][~case.measured].any()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("by", ["gene", "cell"])
def test_written_out_gradients_are_those_of_differences(likelihood: str, by: str):
    case = Case("tensors", counts_of(3, 6, mean=2.0), by)
    flat = case.counts.flatten().double()
    position = flat.nonzero().squeeze(1)
    assert len(position)

    def function(logits: Tensor, log_theta: Tensor, dropout: Tensor) -> Tensor:
        entries = Entries(position, flat[position])
        return softmax_log_prob(likelihood, logits, case.log_library.double(), log_theta, dropout, entries, None)

    leaves = [getattr(case, name).double().requires_grad_() for name in PARTS]
    torch.autograd.gradcheck(function, leaves)


def test_counts_that_are_not_whole_are_not_rounded():
    case = Case("kernel", counts_of())
    case.counts[case.counts > 0] += 0.25
    for likelihood in LIKELIHOODS:
        case.check(likelihood)


def test_a_logit_that_is_not_a_number_is_not_hidden(way: str):
    case = Case(way, counts_of())
    case.logits[3, 4] = math.nan
    for likelihood in LIKELIHOODS:
        value, _ = case.fast(likelihood)
        assert torch.isnan(value).nonzero().flatten().tolist() == [3]


def test_threads_share_the_cells(monkeypatch: pytest.MonkeyPatch):
    case = Case("kernel", counts_of(70))
    alone = case.fast("zinb")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = case.fast("zinb")
    assert torch.equal(alone[0], shared[0])
    assert all(torch.equal(alone[1][name], shared[1][name]) for name in ("logits", "dropout"))
    assert torch.allclose(alone[1]["log_theta"], shared[1]["log_theta"], rtol=1e-5, atol=1e-5)  # in another order


def test_nets_in_bf16_and_the_likelihood_in_float32():
    case = Case("kernel", counts_of())
    position = case.counts.flatten().nonzero().squeeze(1)
    entries = Entries(position, case.counts.flatten()[position])
    logits = case.logits.bfloat16()
    arguments = (case.log_library, case.log_theta, None, entries, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = softmax_log_prob("nb", logits, *arguments)
    assert value.dtype == torch.float32
    assert torch.equal(value, softmax_log_prob("nb", logits.float(), *arguments))


def test_nothing_is_prepared_for_gradients_that_nobody_wants():
    case = Case("kernel", counts_of())
    with torch.no_grad():
        value = softmax_log_prob("poisson", case.logits, case.log_library, None, None, _none(), None)
    assert not value.requires_grad


@pytest.mark.parametrize(
    ("likelihood", "given", "message"),
    [
        ("gauss", 2, "likelihood: 'gauss' is none of poisson, nb, zinb"),
        ("nb", 0, "log_theta: absent, but the likelihood 'nb' needs it"),
        ("zinb", 1, "dropout_logits: absent, but the likelihood 'zinb' needs them"),
    ],
)
def test_what_is_missing_is_named(likelihood: str, given: int, message: str):
    tensors = [torch.zeros(4), torch.zeros(2, 4)][:given] + [None] * (2 - given)
    with pytest.raises(ValueError, match=message):
        softmax_log_prob(likelihood, torch.zeros(2, 4), torch.zeros(2), *tensors, _none(), None)


def _none() -> Entries:
    return Entries(torch.zeros(0, dtype=torch.int64), torch.zeros(0))
