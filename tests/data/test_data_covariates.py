"""Encoding of covariates: parity with the published reference, and what ours does differently."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.data.covariates import encode, fit
from sclamp.types import Covariates

GOLDEN = np.load(Path(__file__).parents[1] / "golden/scilama/covariates.npz", allow_pickle=False)


def frame(part: str) -> pd.DataFrame:
    return pd.DataFrame({name: GOLDEN[f"{part}_{name}"] for name in ("batch", "chem", "mito", "depth")})


def test_parity_of_categories():
    fitted = fit(frame("train"), ["batch", "chem"], [])
    assert fitted.categorical == {"batch": ("b1", "b10", "b2", "nan"), "chem": ("v2", "v3")} and fitted.width == 6
    np.testing.assert_array_equal(encode(frame("train"), fitted), GOLDEN["encoded_train"][:, :6])
    np.testing.assert_array_equal(encode(frame("test"), fitted), GOLDEN["encoded_test"][:, :6])
    without = encode(frame("test").drop(columns="batch"), fitted)
    np.testing.assert_array_equal(without, GOLDEN["encoded_test_without_batch_column"][:, :6])


def test_parity_of_standardisation():
    known = frame("train").dropna(subset="mito")  # the reference skips missing values, ours refuses them
    fitted = fit(known, ["batch"], ["mito", "depth"])
    moments = np.array(list(fitted.continuous.values()))
    np.testing.assert_allclose(moments[0], [GOLDEN["cont_mean"][0], GOLDEN["cont_std"][0]], rtol=1e-12)
    np.testing.assert_array_equal(moments[1], [GOLDEN["cont_mean"][1], 1.0])
    for part in ("train", "test"):
        rows = frame(part)["mito"].notna().to_numpy()
        encoded = encode(frame(part)[rows], fitted)[:, -2:]
        np.testing.assert_allclose(encoded, GOLDEN[f"encoded_{part}"][rows, 6:], rtol=1e-5)


def test_missing_values_as_floats_equal_the_word_nan():
    train = frame("train")
    train["batch"] = train["batch"].replace("nan", np.nan)
    fitted = fit(train, ["batch"], [])
    assert "nan" in fitted.categorical["batch"]
    np.testing.assert_array_equal(encode(train, fitted), GOLDEN["encoded_train"][:, :4])


def test_missing_values_that_training_lacks_become_zeros():
    fitted = fit(pd.DataFrame({"batch": ["a", "b"]}), ["batch"], [])
    np.testing.assert_array_equal(encode(pd.DataFrame({"batch": [np.nan, "b"]}), fitted), [[0, 0], [0, 1]])


@pytest.mark.parametrize("values", [pd.Categorical([1, 2, 1]), np.array([1, 2, 1]), pd.array([1, 2, 1], "Int64")])
def test_numbers_can_be_categories(values):
    fitted = fit(pd.DataFrame({"run": values}), ["run"], [])
    assert fitted.categorical == {"run": ("1", "2")}


def test_nothing_to_encode():
    assert encode(pd.DataFrame(index=range(3)), Covariates()).shape == (3, 0)


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("bath", "categorical", r"covariates\.categorical: obs column 'bath' does not exist; did you mean 'batch'"),
        ("mit", "continuous", r"covariates\.continuous: obs column 'mit' does not exist; did you mean 'mito'"),
        ("mito", "continuous", r"obs column 'mito' has 1 missing or infinite values among 5 cells"),
        ("chem", "continuous", r"obs column 'chem' does not hold numbers"),
    ],
)
def test_columns_that_cannot_be_fitted(column, kind, message):
    with pytest.raises(UserError, match=message):
        fit(frame("train"), **{"categorical": [], "continuous": [], kind: [column]})


def test_new_cells_without_a_continuous_column():
    with pytest.raises(UserError, match=r"covariates\.continuous: obs column 'depth' does not exist"):
        encode(frame("test").drop(columns="depth"), fit(frame("train"), [], ["depth"]))
