"""The restricted unpickler reads GenePT's form and never runs what a pickle says."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclamp.config.gene_priors import FilePrior
from sclamp.core.errors import UserError
from sclamp.priors.files import file_vectors
from sclamp.priors.pickles import read_pickle

CONTENTS: dict[str, Any] = {
    "lists": {"INS": [1.0, 2.5], "GCG": [3.0, 4.0]},
    "arrays": {"INS": np.array([1.0, 2.5]), "GCG": np.array([3.0, 4.0])},
    "float32": {"INS": np.array([1.0, 2.5], np.float32), "GCG": np.array([3.0, 4.0], np.float32)},
    "big endian": {"INS": np.array([1.0, 2.5], ">f8"), "GCG": np.array([3.0, 4.0], ">f8")},
    "views": {"INS": np.array([[1.0, 9.0], [2.5, 9.0]])[:, 0], "GCG": np.array([3, 4])},
    "numpy numbers": {"INS": [np.float64(1.0), np.float32(2.5)], "GCG": [3, 4]},
    "ordered": OrderedDict(INS=(1.0, 2.5), GCG=(3.0, 4.0)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", CONTENTS)
def test_vectors_in_every_form_and_protocol(tmp_path: Path, kind: str, protocol: int) -> None:
    (tmp_path / "p.pickle").write_bytes(pickle.dumps(CONTENTS[kind], protocol=protocol))
    genes = file_vectors(FilePrior(source="file", path=str(tmp_path / "p.pickle")))
    assert list(genes.names.ids) == ["INS", "GCG"]
    assert genes.vectors.tolist() == [[1.0, 2.5], [3.0, 4.0]] and genes.vectors.dtype == np.float32


class Call:
    """Pickles to the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_functions_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "hacked"
    attacks = {
        "os.mkdir": Call(os.mkdir, str(target)),
        "builtins.exec": Call(exec, f"open({str(target)!r}, 'w')"),
        "builtins.eval": Call(eval, f"open({str(target)!r}, 'w')"),
        "numpy.memmap": Call(np.memmap, str(target), "u1", "w+", 0, 8),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(target)))),
        "numpy.load": Call(np.load, str(target)),
    }
    for name, attack in attacks.items():
        (tmp_path / "p.pkl").write_bytes(pickle.dumps({"INS": [1.0], "x": attack}, protocol=protocol))
        with pytest.raises(UserError) as caught:
            read_pickle(tmp_path / "p.pkl")
        assert "it asks for" in str(caught.value) and "only dicts, lists, strings, numbers" in str(caught.value), name
        assert not target.exists(), name


def test_object_arrays_and_frames_are_refused(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"INS": np.array([None], dtype=object)}))
    with pytest.raises(UserError, match="numpy type 'O8' is not that of numbers"):
        read_pickle(tmp_path / "p.pkl")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(pd.DataFrame({"x": [1.0]})))
    with pytest.raises(UserError, match=r"it asks for pandas\..* Convert it to Parquet or npz"):
        read_pickle(tmp_path / "p.pkl")


def test_something_else_than_a_dict(tmp_path: Path) -> None:
    for value, found in [([1.0], "list"), ({1: [1.0]}, "dict"), ("text", "str")]:
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(UserError, match=f"a pickled dict of gene -> vector is expected, found {found}"):
            read_pickle(tmp_path / "p.pkl")


def test_every_truncation_is_a_message(tmp_path: Path) -> None:
    data = pickle.dumps(CONTENTS["arrays"])
    stops = [position for _, _, position in pickletools.genops(data) if position]
    for stop in [0, *stops]:
        (tmp_path / "p.pkl").write_bytes(data[:stop])
        with pytest.raises(UserError, match=r"p\.pkl: (truncated or damaged pickle|refused or damaged)"):
            read_pickle(tmp_path / "p.pkl")


@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_do_more_than_fail(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "p.pkl"
    path.write_bytes(data)
    try:
        value = read_pickle(path)
    except UserError as error:
        assert "p.pkl" in str(error)
    else:
        assert isinstance(value, dict)


def test_ragged_pickle(tmp_path: Path) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"A": [1.0], "B": [1.0, 2.0], "C": "text"}))
    with pytest.raises(UserError, match="1 vectors are not lists of numbers; the first is that of 'C'"):
        file_vectors(FilePrior(source="file", path=str(tmp_path / "p.pkl")))
