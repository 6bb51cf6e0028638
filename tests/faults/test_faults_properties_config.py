"""Properties of the configuration, of what deals out cells, and of sums over parts, for whatever hypothesis tries."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from properties import EXAMPLES

from sclamp.config.datasets import Dataset
from sclamp.config.root import Sections, load
from sclamp.core.errors import UserError
from sclamp.data import tdigest
from sclamp.data.gene_statistics import Spread
from sclamp.data.splits import split_cells
from sclamp.data.stream import cut, epoch_order
from sclamp.train.distributed import Processes

ROOT = Path(__file__).resolve().parents[2]
DEMO = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.just("pca"), st.just([]), st.just({})
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
INTERNALS = ("pydantic", "ValidationError", "input_value", "type=", "errors.py", "Traceback", "https://errors")


def places(value, path=()):
    """Every place of a nested configuration."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


PLACES = [path for path in places(DEMO) if path]
SECTIONS = [path for path in PLACES if isinstance(at(DEMO, path), dict)]


def told(raw):
    """Problems of a configuration, without a word of the library that found them."""
    try:
        load(raw)
    except UserError as error:
        for problem in error.problems:
            assert not any(word in problem for word in INTERNALS), problem
            assert problem.strip() and len(problem) < 5000
        return error.problems
    return []


@settings(EXAMPLES)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["delete", "value", "rename"]), VALUES), max_size=4))
def test_changed_configurations_give_messages_or_settings(changes):
    raw = copy.deepcopy(DEMO)
    for path, change, value in changes:
        try:
            parent = at(raw, path[:-1])
            if change == "delete":
                del parent[path[-1]]
            elif change == "value":
                parent[path[-1]] = value
            elif isinstance(parent, dict):
                parent[f"{path[-1]}x"] = parent.pop(path[-1])
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    told(raw)
    told(yaml.safe_load(yaml.safe_dump(raw)))


@settings(EXAMPLES)
@given(VALUES)
def test_anything_at_all_gives_messages_or_settings(raw):
    told(raw)


@settings(EXAMPLES)
@given(st.sampled_from(SECTIONS), st.from_regex(r"[a-z]{3,9}_q", fullmatch=True))
def test_an_unknown_key_is_named_with_its_path(path, key):
    named = path[:1] in {("datasets",), ("gene_selections",), ("gene_priors",), ("markers",)} and len(path) == 1
    assume(not named and path not in {("models",)} and "grid" not in path)
    raw = copy.deepcopy(DEMO)
    at(raw, path)[key] = 1
    dotted = ".".join(map(str, (*path, key)))
    problems = told(raw)
    assert any(dotted in problem for problem in problems) or any(key in p and str(path[-1]) in p for p in problems), (
        problems
    )


@settings(EXAMPLES)
@given(
    st.integers(1, 10_000), st.floats(0.01, 0.4), st.sampled_from(["stratified", "random"]),
    st.sampled_from(["X", "raw", "layers/a b"]), st.floats(1, 1e6),
    st.lists(st.integers(0, 9), min_size=1, unique=True),
)  # fmt: skip
def test_valid_configurations_come_back_from_json_and_yaml(n_genes, share, strategy, counts, target, seeds):
    raw = {
        "datasets": {"d": {"path": "a.h5ad", "counts": counts, "split": {"strategy": strategy, "val_share": share},
                           "normalization": {"target_sum": target}}},
        "gene_selections": {"hvg": {"n_genes": n_genes}},
        "models": {"m": {"mode": "pca"}},
        "seeds": seeds,
    }  # fmt: skip
    made = load(raw).sections
    again = made.model_dump(mode="json")
    assert Sections.model_validate(json.loads(json.dumps(again))) == made
    assert load(yaml.safe_load(yaml.safe_dump(again))).sections == made


# --- cells ------------------------------------------------------------------------------------------------------------


@settings(EXAMPLES)
@given(
    st.integers(0, 400), st.integers(0, 99), st.integers(0, 9), st.sampled_from([None, 1, 7, 64]), st.integers(2, 50)
)
def test_an_epoch_has_each_cell_once(n, seed, epoch, block, batch):
    rows = np.arange(n) * 3
    order = epoch_order(rows, seed, epoch, block)
    assert sorted(order) == list(rows) and (order == epoch_order(rows, seed, epoch, block)).all()
    plan = cut(order, batch)
    assert [*np.concatenate([*plan, np.empty(0, int)])] == [*order]
    assert all(len(part) != 1 for part in plan) or n == 1
    for count in (1, 2, 3):
        shares = [[Processes(rank, count).share(part) for rank in range(count)] for part in plan]
        for part, of_each in zip(plan, shares, strict=True):
            assert (np.concatenate([own for own, _ in of_each]) == part).all()
            assert all((part[start : start + len(own)] == own).all() for own, start in of_each)


@settings(EXAMPLES)
@given(
    st.lists(st.sampled_from("aabbbc"), min_size=20, max_size=200), st.floats(0.05, 0.4), st.floats(0, 0.4),
    st.sampled_from(["stratified", "random"]), st.integers(0, 99),
)  # fmt: skip
def test_splits_have_every_cell_once_and_keep_their_shares(labels, val, test, strategy, seed):
    obs = pd.DataFrame({"kind": labels}, index=[f"c{i}" for i in range(len(labels))])
    asked = {"strategy": strategy, "val_share": val, "test_share": test, "seed": seed}
    made = split_cells(obs, Dataset(path="x", label="kind", split=asked))
    again = split_cells(obs, Dataset(path="x", label="kind", split=asked))
    assert len(made) == len(obs) and (made == again).all() and not made.isna().any()
    for name, share in (("val", val), ("test", test)):
        assert abs((made == name).sum() - share * len(obs)) <= 2 + len(set(labels))


# --- sums over parts --------------------------------------------------------------------------------------------------

numbers = st.lists(st.integers(1, 1000), min_size=1, max_size=120)


def digest_of(values, size=50):
    values = np.sort(np.asarray(values, dtype=np.float64))
    return tdigest.of_sorted(values, np.array([0, len(values)]), size)


@settings(EXAMPLES)
@given(st.lists(numbers, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_digests_do_not_depend_on_how_values_are_parted(parts, random):
    every = [value for part in parts for value in part]
    merged = tdigest.merged([digest_of(part) for part in parts], 50)
    shuffled = random.sample(parts, len(parts))
    other = tdigest.merged([digest_of(part) for part in shuffled], 50)
    assert merged.sizes[0] == other.sizes[0] == len(every)
    ranks = np.sort(every)
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        for found in (merged, other):
            value, error = (float(x[0]) for x in found.quantiles(share))
            around = share + np.array([-1, 1]) * (error + 1 / len(ranks))
            low, high = np.clip(around * (len(ranks) - 1), 0, len(ranks) - 1)
            assert ranks[int(np.floor(low))] - 1e-6 <= value <= ranks[int(np.ceil(high))] + 1e-6


@settings(EXAMPLES)
@given(st.lists(numbers, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_moments_of_parts_are_those_of_the_whole(parts, random):
    every = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])

    def pooled(some):
        n = np.array([len(part) for part in some])
        mean, variance = (np.array([f(part) for part in some]) for f in (np.mean, np.var))
        return Spread(n, mean, variance).pooled()

    shuffled = random.sample(parts, len(parts))
    halves = [[v for part in shuffled[:1] for v in part], [v for part in shuffled[1:] for v in part]]
    for found in (pooled(parts), pooled(shuffled), pooled(halves)):
        assert found.n == len(every)
        assert found.mean == pytest.approx(every.mean(), rel=1e-12)
        assert found.variance == pytest.approx(every.var(), rel=1e-9, abs=1e-9)
