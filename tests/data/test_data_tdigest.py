"""Quantiles of many genes at once; oracle: numpy, gene by gene."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.data import nonzeros, tdigest
from sclamp.data.nonzeros import Values

SHARES = np.array([0.01, 0.25, 0.5, 0.9])


def genes(sizes: list[int], seed: int = 0) -> list[np.ndarray]:
    """Values of each gene, of skewed distributions."""
    rng = np.random.default_rng(seed)
    return [rng.lognormal(rng.normal(), 1 + rng.random(), size) for size in sizes]


def stream(values: list[np.ndarray], n_blocks: int = 7):
    """A stream of these values in an order in which genes are mixed."""
    of = np.repeat(np.arange(len(values)), [len(v) for v in values])
    order = np.random.default_rng(1).permutation(len(of))
    flat = np.concatenate(values)
    return lambda: (Values(of[part], flat[part]) for part in np.array_split(order, n_blocks))


def oracle(values: list[np.ndarray]) -> np.ndarray:
    return np.array([[np.quantile(v, share) if len(v) else np.nan for v in values] for share in SHARES])


SIZES = [0, 1, 2, 3, 50, 199, 200, 201, 1000, 0, 20_000, 7]


@pytest.mark.parametrize("memory", [8 * 20_000, 8 * 20_900, 10**9])
def test_exact_quantiles_in_any_number_of_passes(memory):
    values, sizes = genes(SIZES), np.array(SIZES)
    assert nonzeros.n_passes(sizes, memory) == {160_000: 3, 167_200: 2, 10**9: 1}[memory]
    found = nonzeros.exact(stream(values), sizes, SHARES, memory, 200)
    np.testing.assert_allclose(found.values, oracle(values), rtol=1e-10)
    assert (found.errors[:, sizes > 0] == 0).all() and np.isnan(found.errors[:, sizes == 0]).all()
    whole = nonzeros.exact(stream(values), sizes, SHARES, 10**9, 200).digests
    np.testing.assert_array_equal(found.digests.means, whole.means)
    np.testing.assert_array_equal(found.digests.sizes, sizes)
    assert nonzeros.exact(stream(values), sizes, SHARES, memory, 0).digests is None


def test_a_gene_that_does_not_fit_has_no_exact_quantiles():
    assert nonzeros.n_passes(np.array([10, 1001]), 8000) is None


@pytest.mark.parametrize("capacity", [10**7, 3000, 500], ids=["one window", "several", "many"])
def test_digests_are_exact_for_few_values_and_close_for_many(capacity):
    sizes = [*SIZES, 100_000]
    values = genes(sizes)
    found = nonzeros.sketched(stream(values), np.array(sizes), SHARES, 8 * capacity, 200)
    few, exact = np.array(sizes) <= 200, oracle(values)
    np.testing.assert_allclose(found.values[:, few], exact[:, few], rtol=1e-10)
    assert (found.errors[:, few & (np.array(sizes) > 0)] == 0).all()
    for gene in np.flatnonzero(~few):
        for i, share in enumerate(SHARES):
            rank = (values[gene] < found.values[i, gene]).mean()
            assert abs(rank - share) <= found.errors[i, gene] + 1 / sizes[gene]
    assert (found.errors[2, ~few] > 0).all() and (found.errors[2, ~few] < 0.012).all()
    assert (np.diff(found.digests.starts) <= 204).all()


def test_the_error_of_medians_is_as_documented():
    """Over many genes of 300 to 30,000 values: what docs/gene_statistics.md says."""
    sizes = np.random.default_rng(3).integers(300, 30_000, 150)
    values = genes(list(sizes), seed=2)
    exact = oracle(values)[2]
    windows = nonzeros.sketched(stream(values), sizes, SHARES, 8 * 400_000, 200).values[2]
    parts = [[v[i::4] for v in values] for i in range(4)]
    digests = [nonzeros.exact(stream(p), np.array([len(v) for v in p]), SHARES, 10**9, 200).digests for p in parts]
    merged = nonzeros.from_digests(tdigest.merged(digests, 200), SHARES).values[2]
    for found in (windows, merged):
        error = np.abs(found / exact - 1)
        assert 1e-4 < error.mean() < 1.5e-3 and error.max() < 7e-3


def test_merging_does_not_depend_on_the_order_of_the_parts():
    values = genes(SIZES)
    sizes = np.array(SIZES)
    thirds = [[v[i::3] for v in values] for i in range(3)]
    digests = [
        nonzeros.exact(stream(part), np.array([len(v) for v in part]), SHARES, 10**9, 50).digests for part in thirds
    ]
    first, other = (tdigest.merged(order, 50) for order in (digests, digests[::-1]))
    np.testing.assert_array_equal(first.means, other.means)
    np.testing.assert_array_equal(first.sizes, sizes)
    ends = [(v.min(), v.max()) for v in values if len(v) > 1]
    some = np.flatnonzero(sizes > 1)
    found = [(first.means[first.starts[g]], first.means[first.starts[g + 1] - 1]) for g in some]
    np.testing.assert_allclose(found, ends, rtol=1e-10)


def test_nothing_to_describe():
    nothing = lambda: iter([Values(np.empty(0, np.int64), np.empty(0))])  # noqa: E731
    for found in (
        nonzeros.exact(nothing, np.zeros(3, np.int64), SHARES, 1000, 10),
        nonzeros.sketched(nothing, np.zeros(3, np.int64), SHARES, 1000, 10),
    ):
        assert np.isnan(found.values).all() and found.values.shape == (4, 3)
        assert found.digests.n_genes == 3 and not len(found.digests.means)


def test_keys_keep_eleven_digits():
    values = np.array([1e-300, 1e-5, 0.1, 1.0, 3.0, 12345.678, 1e300])
    keys = nonzeros._keys(np.arange(7)[::-1], values)
    np.testing.assert_allclose(nonzeros._values(keys), values, rtol=1e-11)
    assert (np.diff(keys.astype(object)) < 0).all()
