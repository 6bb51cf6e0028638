"""Splits: shares, seeds, labels, whole groups, columns."""

import numpy as np
import pandas as pd
import pytest

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data.splits import split_cells

SIZES = {"T": 600, "B": 250, "NK": 101, "DC": 40, "HSC": 3, "MK": 2, "pDC": 1}


@pytest.fixture
def obs() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat(list(SIZES), list(SIZES.values())))
    n = len(labels)
    donors = rng.choice(["d1", "d2", "d3", "d4", "d5"], n, p=[0.1, 0.15, 0.2, 0.25, 0.3])
    return pd.DataFrame({"type": labels, "donor": donors, "fold": np.arange(n) % 4})


def split(obs: pd.DataFrame, label: str | None = "type", batch: str | None = None, **settings) -> np.ndarray:
    return np.asarray(split_cells(obs, Dataset(path="x.h5ad", label=label, batch=batch, split=settings)))


def shares(names: np.ndarray) -> dict[str, float]:
    return {name: float((names == name).mean()) for name in ("train", "val", "test")}


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_shares_are_kept(obs, strategy):
    found = shares(split(obs, strategy=strategy, val_share=0.15, test_share=0.25))
    assert found["val"] == pytest.approx(0.15, abs=0.005) and found["test"] == pytest.approx(0.25, abs=0.005)


def test_stratified_keeps_shares_within_labels(obs):
    names = split(obs, val_share=0.1, test_share=0.2)
    for label, n in SIZES.items():
        mine = names[obs["type"] == label]
        assert abs((mine == "test").sum() - 0.2 * n) <= 1 and abs((mine == "val").sum() - 0.1 * n) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_trained_on(obs, seed):
    names = split(obs, val_share=0.4, test_share=0.5, seed=seed)
    assert set(obs["type"][names == "train"]) == set(SIZES)


def test_missing_labels_are_a_stratum_of_their_own(obs):
    obs.loc[obs["type"] == "B", "type"] = None
    names = split(obs)[obs["type"].isna()]
    assert shares(names)["test"] == pytest.approx(0.2, abs=0.01)


def test_the_seed_decides(obs):
    first, again, other = split(obs, seed=1), split(obs, seed=1), split(obs, seed=2)
    assert (first == again).all() and (first != other).mean() > 0.2


def test_no_test_cells_when_none_are_asked(obs):
    assert shares(split(obs, test_share=0.0))["test"] == 0


def test_a_tiny_share_still_validates(obs):
    assert (split(obs.head(40), label=None, val_share=0.001) == "val").sum() == 1


def test_whole_groups_are_held_out(obs):
    names = split(obs, batch="donor", strategy="hold_out", hold_out=["d2", "d4"], val_share=0.2)
    assert ((names == "test") == obs["donor"].isin(["d2", "d4"])).all()
    rest = names[names != "test"]
    assert (rest == "val").mean() == pytest.approx(0.2, abs=0.01)


def test_drawn_groups_are_whole_and_hold_the_share(obs):
    for seed in range(8):
        names = split(obs, strategy="hold_out", group="donor", test_share=0.3, seed=seed)
        test = obs["donor"][names == "test"].unique()
        assert (obs["donor"].isin(test) == (names == "test")).all()
        assert (names == "test").mean() >= 0.3 and 1 <= len(test) < 5


def test_a_column_names_the_parts(obs):
    settings = {"column": "fold", "train": "0", "val": "1", "test": "2"}
    names = split(obs[obs["fold"] < 3], **settings)
    assert (names == np.array(["train", "val", "test"])[obs["fold"][obs["fold"] < 3]]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"column": "fald"}, r"split\.column: obs column 'fald' does not exist; did you mean 'fold'"),
        (
            {"column": "fold", "train": "0", "val": "1", "test": "2"},
            r"the value '3' \(2\d\d cells\), which is none of '0', '1', '2'",
        ),
        ({"column": "fold", "train": "0", "val": "1", "test": None}, "has the value '2'"),
        ({"column": "part"}, r"no validation cells among 997 \(split\.column is 'part', "),
        ({"strategy": "hold_out"}, "hold_out needs split.group, or a batch column"),
        (
            {"strategy": "hold_out", "group": "donor", "hold_out": ["d9"]},
            "obs column 'donor' 'd9' does not exist; did you mean",
        ),
        (
            {"strategy": "hold_out", "group": "donor", "hold_out": ["d1", "d2", "d3", "d4", "d5"]},
            r"no training cells among 997 \(split\.hold_out is d1, ",
        ),
        (
            {"strategy": "hold_out", "group": "donors"},
            r"split\.group: obs column 'donors' does not exist; did you mean 'donor'",
        ),
    ],
)
def test_impossible_splits(obs, settings, message):
    with pytest.raises(UserError, match=message):
        split(obs.assign(part="train"), **settings)
