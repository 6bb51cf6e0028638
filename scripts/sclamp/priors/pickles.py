"""Reading a pickled dict of gene -> vector (GenePT's form) without running anything that the file says.

A pickle is a program: it names functions and calls them. Here the only names that resolve are the few that numpy
arrays and numbers are rebuilt with, and what they resolve to are our own functions.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from sclamp.core.errors import UserError


class _ArrayType:
    """Stands for numpy.ndarray where a pickle names it; cannot be called to any effect."""


def _empty_array(_type: Any, _shape: Any, _code: Any) -> np.ndarray:
    """What numpy's _reconstruct does: an empty array, whose state (shape, type, bytes) comes next."""
    return np.empty(0, np.int8)


def _number_type(code: str, *_flags: Any) -> np.dtype:
    if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[fiub]\d{1,2}", code):
        raise pickle.UnpicklingError(f"numpy type {code!r} is not that of numbers")
    return np.dtype(code, False, True)  # a copy: the pickle sets its byte order next


def _number(kind: np.dtype, data: bytes) -> Any:
    return np.frombuffer(data, kind, count=1)[0]


def _from_buffer(data: Any, kind: np.dtype, shape: Any, _order: Any = "C") -> np.ndarray:
    return np.frombuffer(data, kind).reshape(shape, order=_order)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Protocols 0 to 2 keep bytes as latin1 text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _number_type,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _DataOnly(pickle.Unpickler):
    """Builds dicts, lists, strings, numbers and numeric numpy arrays; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name in the pickle."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, _identifier: Any) -> Any:
        """Refuse references to things outside the file."""
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a dict of gene -> vector. Errors: anything but data in the file, a truncated file, no dict of strings."""
    try:
        with open(path, "rb") as handle:
            value = _DataOnly(handle).load()
    except pickle.UnpicklingError as error:
        allowed = "only dicts, lists, strings, numbers and numeric numpy arrays are read"
        raise UserError(f"{path}: refused or damaged: {error}; {allowed}. Convert it to Parquet or npz.") from error
    except (EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: truncated or damaged pickle ({type(error).__name__}: {error}).") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: a pickled dict of gene -> vector is expected, found {type(value).__name__}.")
    return value
