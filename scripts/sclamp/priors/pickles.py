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
from sclamp.core.limits import memory_for


class _ArrayType:
    """Stands for numpy.ndarray where a pickle names it; cannot be called to any effect."""


class _NumberType:
    """Stands for numpy.dtype: numpy's own would take flags from the pickle that make it follow numbers as pointers."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?[fiub]\d{1,2}", code):
            raise pickle.UnpicklingError(f"numpy type {code!r} is not that of numbers")
        self.type = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Of all that a pickle says about a type, the byte order is taken."""
        if state[1] in {"<", ">"}:
            self.type = self.type.newbyteorder(state[1])


class _Array:
    """Stands for an array until its shape, type and bytes are known; numpy's own would take more from the pickle."""

    def __init__(self, *_arguments: Any) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, by_column, data = state
        self.values = _from_buffer(data, kind, shape, "F" if by_column else "C")


def _number(kind: _NumberType, data: Any) -> Any:
    return np.frombuffer(_bytes(data), kind.type, count=1)[0]


def _from_buffer(data: Any, kind: _NumberType, shape: Any, order: Any = "C") -> np.ndarray:
    return np.frombuffer(_bytes(data), kind.type).reshape(shape, order=order)


def _bytes(data: Any) -> Any:
    return data.encode("latin1") if isinstance(data, str) else data


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Protocols 0 to 2 keep bytes as latin1 text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _NumberType,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _DataOnly(pickle.Unpickler):
    """Builds dicts, lists, strings, numbers and numeric numpy arrays; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve a name in the pickle."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        allowed = _ALLOWED[module, name]
        return lambda *arguments: allowed(*arguments)  # a pickle may set attributes: it gets none of ours

    def persistent_load(self, _identifier: Any) -> Any:
        """Refuse references to things outside the file."""
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Read a dict of gene -> vector. Errors: anything but data in the file, a truncated file, no dict of strings."""
    try:
        with memory_for(path), open(path, "rb") as handle:
            value = _DataOnly(handle).load()
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        allowed = "only dicts, lists, strings, numbers and numeric numpy arrays are read"
        raise UserError(f"{path}: refused or damaged: {error}; {allowed}. Convert it to Parquet or npz.") from error
    except Exception as error:  # a program that goes wrong can fail in any way
        raise UserError(f"{path}: truncated or damaged pickle ({type(error).__name__}: {error}).") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(f"{path}: a pickled dict of gene -> vector is expected, found {type(value).__name__}.")
    return {
        key: item.values if isinstance(item, _Array) else item for key, item in dict.items(value)
    }  # of the type: a pickle may give its dict other methods
