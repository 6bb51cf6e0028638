"""Functions of numbers and rows for `count_kernel`, compiled for the CPU.

Loops over rows use only arithmetic, comparisons and bit patterns, so that the compiler makes vector instructions of
them; hence exponential and logarithm of our own, by their series after a range reduction (relative errors below 2e-7).
No loop goes from an array to itself through another: the compiler's test for overlap would then choose plain ones.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numba
import numpy as np

Number: TypeAlias = Any
"""A number whose type the compiler finds out."""

_F = np.float32
ZERO, _HALF, ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_LOWEST, _HIGHEST, _PER_LN2 = _F(-87), _F(88), _F(1 / math.log(2))
_LN2 = _F(math.log(2))
_LN2_HIGH = _F(0.693359375)  # few bits, so that whole multiples of it are exact
_LN2_LOW = _F(math.log(2) - 0.693359375)
_E2, _E3, _E4, _E5, _E6, _E7 = (_F(1 / math.factorial(k)) for k in range(2, 8))
_L3, _L5, _L7, _L9, _L11 = (_F(1 / k) for k in (3, 5, 7, 9, 11))
_ROOT_HALF_BITS = int(_F(0.5**0.5).view(np.int32))
_LOG_FACTORIAL = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 256)))])

# No flag may let the compiler assume that there is no NaN: one in the logits must come out as a NaN.
compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
summing = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})


@compiled
def exp32(x: Number) -> Number:
    """exp(x) for float32; 0 below -87, capped above 88."""
    y = _LOWEST if x < _LOWEST else x
    y = _HIGHEST if y > _HIGHEST else y
    n = np.floor(y * _PER_LN2 + _HALF)
    r = y - n * _LN2_HIGH - n * _LN2_LOW  # |r| <= ln(2) / 2
    series = ((((((_E7 * r + _E6) * r + _E5) * r + _E4) * r + _E3) * r + _E2) * r + ONE) * r + ONE
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ZERO if x < _LOWEST else series * power


@compiled
def log1p32(x: Number) -> Number:
    """log(1 + x) for float32 x >= 0."""
    bits = np.float32(ONE + x).view(np.int32)
    exponent = np.int32(np.int32(bits - np.int32(_ROOT_HALF_BITS)) >> np.int32(23))
    mantissa = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32)  # within sqrt(1/2) .. sqrt(2)
    f = x if exponent == 0 else mantissa - ONE  # x itself, where 1 + x would round it
    s = f / (_TWO + f)  # log(1 + f) = 2 artanh(s)
    z = s * s
    series = ((((_L11 * z + _L9) * z + _L7) * z + _L5) * z + _L3) * z
    return np.float32(exponent) * _LN2 + (s + s) * (ONE + series)


@compiled
def log_gamma_and_digamma(x: Number) -> tuple[Number, Number]:
    """Stirling's series of log Gamma(x) and of its derivative in float64, for x >= 16."""
    log, y = math.log(x), 1.0 / (x * x)
    series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x
    slope = log - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y / 240)))
    return (x - 0.5) * log - x + 0.5 * math.log(2 * math.pi) + series, slope


@compiled
def log_factorial(x: Number) -> Number:
    """Compute log(x!) of a whole number, in float64."""
    return _LOG_FACTORIAL[int(x)] if x < 256 else log_gamma_and_digamma(x + 1.0)[0]


@summing
def row_sum(values: np.ndarray) -> Number:
    """Sum, in any order."""
    total = ZERO
    for j in range(values.shape[0]):
        total += values[j]
    return total


@compiled
def softplus(x: Number) -> Number:
    """Compute log(1 + exp(x)) for float32."""
    return (x if x > ZERO else ZERO) + log1p32(exp32(-abs(x)))


@compiled
def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)) for float32."""
    return ONE / (ONE + exp32(-x))


@compiled
def softplus_row(sign: Number, x: np.ndarray, out: np.ndarray) -> None:
    """Compute softplus(sign x), where sign is 1 or -1."""
    for j in range(x.shape[0]):
        out[j] = softplus(sign * x[j])


@compiled
def sigmoid_row(sign: Number, x: np.ndarray, out: np.ndarray) -> None:
    """Compute sigmoid(sign x), where sign is 1 or -1."""
    for j in range(x.shape[0]):
        out[j] = sigmoid(sign * x[j])


@compiled
def subtract(values: np.ndarray, other: np.ndarray) -> None:
    """Make values -= other."""
    for j in range(values.shape[0]):
        values[j] -= other[j]


@compiled
def exponentials(logits: np.ndarray, top: Number, out: np.ndarray) -> None:
    """Compute exp(logits - top)."""
    for j in range(logits.shape[0]):
        out[j] = exp32(logits[j] - top)


@compiled
def difference(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Compute a - b; out is neither of them."""
    for j in range(a.shape[0]):
        out[j] = a[j] - b[j]


@compiled
def multiply(weight: np.ndarray, values: np.ndarray) -> None:
    """Make values *= weight."""
    for j in range(weight.shape[0]):
        values[j] *= weight[j]


@compiled
def scaled(factor: Number, values: np.ndarray, out: np.ndarray) -> None:
    """Compute factor values; out is another array."""
    for j in range(values.shape[0]):
        out[j] = factor * values[j]


@compiled
def add_scaled(factor: Number, values: np.ndarray, total: np.ndarray) -> None:
    """Make total += factor values."""
    for j in range(values.shape[0]):
        total[j] += factor * values[j]
