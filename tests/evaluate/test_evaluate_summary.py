"""The summary of all runs: the script, its tables, the controls above models; what it says about bad input."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sclamp.core.files import provenance_of, write_table
from sclamp.evaluate.resampled import read_resampled
from sclamp.evaluate.rows import COLUMNS, RUN, Row, write_scores
from sclamp.evaluate.summary import INTERVALS, summarize
from sclamp.types import Score

SCRIPT = Path(__file__).parents[2] / "scripts" / "summarize_scores.py"
NAN = float("nan")
Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Run:
    """Run the script in this process; returns its stdout and stderr."""
    outputs = ["--output", f"{tmp_path}/scores.parquet", "--csv", f"{tmp_path}/scores.csv"]
    outputs += ["--intervals", f"{tmp_path}/intervals.parquet", "--comparisons", f"{tmp_path}/comparisons.parquet"]

    def call(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["summarize_scores.py", *map(str, arguments), *outputs])
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            assert end.code == 1
        return capsys.readouterr()

    return call


def one_run(folder: Path, model: str, seed: int, total: float, resamples: int = 0, mse: float = NAN) -> list[Path]:
    """Score file of a run and, with resamples, its replicates.parquet."""
    path = folder / f"{model}_{seed}.parquet"
    of_mse = Score("mse", "i", mse) if mse == mse else Score("mse", "i", NAN, "not_applicable", "no decoder")
    of_total = Score("total", "i", total) if total == total else Score("total", "i", NAN, "failed", "broken")
    rows = [Row("all", "integration", of_total), Row("held_out", "reconstruction", of_mse)]
    write_scores(path, "d", model, seed, rows, {})
    if not resamples:
        return [path]
    samples = total + np.random.default_rng(seed).normal(0, 0.01, size=resamples)
    where = {"dataset": "d", "model": model, "seed": seed, "cells": "all", "task": "integration", "metric": "total"}
    write_table(folder / f"r_{path.name}", {**{k: [v] for k, v in where.items()}, "replicates": [list(samples)]}, {})
    return [path, folder / f"r_{path.name}"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    means = {"good": 0.8, "bad": 0.3, "pca": 0.6, "control_random": 0.4, "control_label_onehot": 0.9,
             "control_shuffled_within_label": 0.85, "bad.prior=none": 0.35}  # fmt: skip
    rng, scores, resampled = np.random.default_rng(0), [], []
    for model, mean in means.items():
        for seed in (1, 2, 3):
            failed = model == "good" and seed == 3
            total, mse = NAN if failed else mean + rng.normal(0, 0.01), 1 - mean if model in {"good", "bad"} else NAN
            made = one_run(tmp_path, model, seed, total, 0 if failed or model == "control_random" else 50, mse)
            scores += made[:1]
            resampled += made[1:]
    return {"scores": scores, "resampled": resampled}


def test_the_tables(run: Run, tmp_path: Path, files: dict[str, list[Path]]) -> None:
    controls = json.dumps([{"model": "bad.prior=none", "control": "none", "of": "bad"}])
    said, _ = run("--scores", *files["scores"], "--replicates", *files["resampled"], "--baseline", "pca",
                  "--prior-controls", controls, "--code", "abc")  # fmt: skip
    scores, intervals, comparisons = (
        pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("scores", "intervals", "comparisons")
    )
    for name, table in (("scores", scores), ("intervals", intervals), ("comparisons", comparisons)):
        text = pd.read_csv(
            tmp_path / f"{name}.csv", keep_default_na=False, na_values={c: [""] for c in table.select_dtypes("number")}
        )
        pd.testing.assert_frame_equal(text, table, check_dtype=False)
        origin = provenance_of(pq.read_table(tmp_path / f"{name}.parquet"))
        assert origin["code"] == "abc" and origin["settings"]["baseline"] == "pca"
    assert list(scores) == [*COLUMNS, "calibrated"] and len(scores) == 2 * len(files["scores"])
    assert tuple(intervals) == INTERVALS
    rows = intervals[intervals["metric"] == "total"].set_index("model")
    assert rows["rank"].dropna().to_dict() == {"good": 1, "pca": 2, "bad": 3}
    assert rows["below_control"].to_dict() == {
        **dict.fromkeys(rows.index, ""), "bad": "control_random,pca", "bad.prior=none": "control_random,pca"
    }  # fmt: skip
    assert said.splitlines() == [
        f"d, all cells: {m} scores {rows['mean'][m]:.3f}, below control_random,pca" for m in ("bad", "bad.prior=none")
    ]
    assert rows.loc["good", "seeds"] == 2 and rows["seeds"].drop("good").eq(3).all()
    assert rows.loc["control_random", ["low_cells", "high_cells"]].isna().all()
    for low, high in (("low_seeds", "high_seeds"), ("low_cells", "high_cells"), ("low", "high")):
        known = rows.drop("control_random") if low == "low_cells" else rows
        assert (known[low] < known["mean"]).all() and (known[high] > known["mean"]).all()
    floor, ceiling = rows["mean"]["control_random"], rows["mean"]["control_label_onehot"]
    for end in ("low", "high"):
        np.testing.assert_allclose(rows[f"calibrated_{end}"], (rows[end] - floor) / (ceiling - floor))
    assert rows["calibrated"]["control_random"] == 0 and rows["calibrated"]["control_label_onehot"] == 1
    prior = comparisons[comparisons["kind"] == "prior"].iloc[0]
    assert (prior["model"], prior["other"], prior["better"]) == ("bad", "bad.prior=none", "other")
    errors = comparisons[comparisons["metric"] == "mse"].iloc[0]
    assert (errors["model"], errors["other"], errors["difference"]) == ("bad", "good", pytest.approx(0.5))


def test_intervals_of_calibrated_errors_keep_their_order() -> None:
    values = {"m": 0.5, "control_batch_onehot": 1.0, "control_label_onehot": 0.4}
    scores = pd.DataFrame({"model": np.repeat(list(values), 2), "value": np.repeat(list(values.values()), 2)})
    scores["value"] += np.tile([-0.01, 0.01], 3)
    scores = scores.assign(seed=np.tile([1, 2], 3), dataset="d", cells="held_out", task="probe", status="ok")
    none = read_resampled([])
    row = summarize(scores.assign(metric="batch_accuracy"), none).intervals.set_index("model").loc["m"]
    assert row["calibrated_low"] < row["calibrated"] < row["calibrated_high"]
    assert row["calibrated"] == pytest.approx(0.5 / 0.6) and (row["floor"], row["ceiling"]) == (1.0, 0.4)


def test_equal_inputs_give_equal_bytes_in_any_order(run: Run, tmp_path: Path, files: dict[str, list[Path]]) -> None:
    found = []
    for order in (1, -1):
        run("--scores", *files["scores"][::order], "--replicates", *files["resampled"][::order])
        found.append([(tmp_path / f"{n}.parquet").read_bytes() for n in ("scores", "intervals", "comparisons")])
    assert found[0] == found[1]


def test_each_dataset_and_set_of_cells_has_its_own_controls() -> None:
    def table(totals: dict[str, float], dataset: str = "d", cells: str = "all") -> pd.DataFrame:
        frame = pd.DataFrame({"model": list(totals), "value": list(totals.values())})
        place = {"dataset": dataset, "cells": cells, "task": "integration", "metric": "total"}
        return frame.assign(**place, seed=1, status="ok")

    scores = pd.concat([
        table({"m": 0.4}),
        table({"m": 0.4, "control_random": 0.5, "control_label_onehot": 0.9}, cells="held_out"),
        table({"m": 0.6, "control_random": 0.5}, dataset="e"),
    ])  # fmt: skip
    below = summarize(scores, read_resampled([])).intervals.set_index(["dataset", "cells", "model"])["below_control"]
    assert below["d", "all", "m"] == below["e", "all", "m"] == ""
    assert below["d", "held_out", "m"] == "control_random"


def test_a_baseline_within_noise_is_no_bar() -> None:
    means = {"near": (0.60, 0.62, 0.61), "far": (0.30, 0.31, 0.32), "pca": (0.62, 0.61, 0.63)}
    where = {"dataset": "d", "cells": "all", "task": "integration", "metric": "total", "status": "ok"}
    rows = [
        {**where, "model": model, "seed": seed, "value": value}
        for model, values in means.items()
        for seed, value in enumerate(values)
    ]
    table = summarize(pd.DataFrame(rows), read_resampled([]), baseline="pca").intervals.set_index("model")
    assert table["mean"]["pca"] > table["mean"]["near"] and table["rank"]["near"] == table["rank"]["pca"]
    assert table["below_control"].to_dict() == {"near": "", "far": "pca", "pca": ""}


def test_replicates_without_rows_or_resamples_are_no_error(tmp_path: Path) -> None:
    where = {"dataset": "d", "model": "m", "seed": 1, "cells": "all", "task": "t", "metric": "x"}
    empty = pd.DataFrame({**{k: [v] for k, v in where.items()}, "replicates": [np.array([], float)]})
    write_table(tmp_path / "a.parquet", empty, {})
    write_table(tmp_path / "b.parquet", empty.iloc[:0], {})
    assert read_resampled([tmp_path / "a.parquet"]).samples.shape == (0, 0)
    one = one_run(tmp_path, "m", 1, 0.5, resamples=3)[1]
    read = read_resampled([tmp_path / "a.parquet", one])
    assert read.samples.shape == (1, 3) and list(read.keys) == RUN


# --- bad input ------------------------------------------------------------------------------------------------------


def test_replicates_are_checked(run: Run, tmp_path: Path) -> None:
    a, ra = one_run(tmp_path, "a", 1, 0.5, resamples=4)
    b, rb = one_run(tmp_path, "b", 1, 0.5, resamples=5)
    _, said = run("--scores", a, b, "--replicates", ra, rb)
    assert f"--replicates: {ra} has 4 resamples of a score, {rb} has 5; they can be paired only where all" in said
    assert "Make them anew with one evaluate.bootstrap." in said
    _, said = run("--scores", a, "--replicates", ra, ra)
    assert "--replicates: a resampled score occurs more than once (dataset d, model a, seed 1, cells all" in said
    _, said = run("--scores", a, "--replicates", a)
    assert f"{a}: column 'replicates' does not exist" in said
    assert not (tmp_path / "intervals.parquet").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[", "--prior-controls: not valid JSON ("),
        ('{"model": "a"}', "is expected, found dict."),
        ('{"model": "a"}', '--prior-controls: a list of {"model": ..., "control": ..., "of": ...} is expected'),
        ('[{"model": "a"}]', "--prior-controls[0]: a list of"),
        ('[{"model": "a"}]', "no key 'of' was found."),
        ('["a"]', "'a' was found."),
        ('[{"model": "aa", "of": "a"}]', "--prior-controls: model 'aa' does not exist; did you mean 'a'?"),
    ],
)  # fmt: skip
def test_prior_controls_are_checked(run: Run, tmp_path: Path, text: str, expected: str) -> None:
    _, said = run("--scores", *one_run(tmp_path, "a", 1, 0.5), "--prior-controls", text)
    assert expected in said and "1 problem" in said


def test_start_up_is_light(tmp_path: Path) -> None:
    path = one_run(tmp_path, "m", 1, 0.5)[0]
    program = (
        "import runpy, sys, time; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "print([m for m in ('scipy.stats', 'torch', 'sklearn') if m in sys.modules], time.process_time())"
    )
    command = [sys.executable, "-c", program, SCRIPT, "--scores", path, "--output", tmp_path / "s.parquet"]
    seconds = []
    for _ in range(3):  # the least of three: the machine may be busy with something else
        done = subprocess.run([*command, "--csv", tmp_path / "s.csv"], capture_output=True, text=True, check=True)
        modules, taken = done.stdout.splitlines()[-1].rsplit(" ", 1)
        assert modules == "[]"
        seconds.append(float(taken))
    assert min(seconds) < 1.5
