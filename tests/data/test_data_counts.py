"""What is no count is found and described, element by element."""

import numpy as np
import pytest
from scipy import sparse

from sclamp.data.counts import CountVerdict


def verdict(values: np.ndarray, rows: int = 30) -> CountVerdict:
    """Look at a dense matrix in blocks."""
    found = CountVerdict()
    for start in range(0, len(values), rows):
        found.add(sparse.csr_matrix(values[start : start + rows]))
    return found


def normalised(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * 1e4


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "uint8"])
def test_counts_pass(raw, kind):
    found = verdict(raw.X.toarray().astype(kind))
    assert found.are_counts and found.problem("X") == "" and found.largest == raw.X.max()
    assert found.n_values == raw.X.nnz


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.log1p(normalised(x)), "log-normalised (natural logarithm)"),
        (lambda x: np.log2(1 + normalised(x)), "log-normalised (base 2)"),
        (lambda x: np.log10(1 + normalised(x)), "log-normalised (base 10)"),
        (normalised, "normalised to a common sum"),
        (lambda x: (x - x.mean(0)) / (x.std(0) + 1), "scaled (z-scored)"),
        (
            lambda x: np.log1p(normalised(x) * np.linspace(0.5, 1.7, x.shape[1])),
            "log-normalised (fractional, none above",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_it_says_what_the_values_look_like(raw, change, words, kind):
    found = verdict(change(raw.X.toarray().astype(np.float64)).astype(kind))
    assert not found.are_counts and words in found.problem("X")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-2, "1 negative (the first is -2 in cell number 42, gene number 8)"),
        (1.5, "1 fractional (the first is 1.5 in cell number 42, gene number 8)"),
        (np.nan, "1 NaN or infinite (the first is nan in cell number 42, gene number 8)"),
        (np.inf, "1 NaN or infinite (the first is inf"),
        (2.0**24 + 2, "1 above 16777216 (the first is 1.67772e+07"),
    ],
)
def test_a_single_wrong_value_is_found_and_located(raw, value, words):
    values = raw.X.toarray()
    values[41, 7] = value
    problem = verdict(values).problem("layers/counts")
    assert problem.startswith("counts: layers/counts does not hold counts: of ") and words in problem
    assert "looks" not in problem


def test_row_sums_that_are_whole_do_not_hide_fractions():
    values = np.full((6, 8), 0.5)
    assert values.sum(axis=1).tolist() == [4.0] * 6
    assert verdict(values).n_fractional == 48
