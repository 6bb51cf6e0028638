"""Statistics of genes: against golden numbers and numpy, in one run, over files, and merged from parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from sclamp.config.gene_statistics import GeneStatisticsSettings
from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.data import h5ad, moments
from sclamp.data.gene_statistics import describe, merge
from sclamp.data.gene_statistics_table import read_medians, read_statistics, to_table, write_statistics
from sclamp.data.h5ad import Cells, CountMap, counts_writer

GOLDEN = np.load(Path(__file__).parents[1] / "golden/cellarium/onepass_and_medians.npz", allow_pickle=False)
SCRIPT = Path(__file__).parents[2] / "scripts/describe_genes.py"
COUNTS, BATCH = GOLDEN["counts"], GOLDEN["batch"].astype(str)


def stored(
    path: Path,
    counts: np.ndarray = COUNTS,
    batch: np.ndarray = BATCH,
    names: list[str] | None = None,
    split: str | np.ndarray = "train",
    target_sum: float = float(GOLDEN["target_sum"]),
) -> tuple[CountMap, Cells]:
    """Write counts as prepare does, and read them back."""
    matrix = sparse.csr_matrix(counts, dtype=np.float32)
    names = [f"g{i}" for i in range(matrix.shape[1])] if names is None else names
    values = {"batch": batch, "split": split, "library_size": np.asarray(matrix.sum(1)).ravel()}
    obs = pd.DataFrame(values, index=[f"c{i}" for i in range(len(batch))])
    var = pd.DataFrame({"symbol": names}, index=pd.Index(names, dtype=object))
    spec = {"recipe": {"target_sum": target_sum, "log1p": True, "clip": 10.0}}
    with counts_writer(path, obs, var, matrix.nnz, "f4", "i4", {}, {"spec": spec, "provenance": {}}) as writer:
        writer.append(matrix)
    return CountMap(path), Cells(obs, var, spec, np.empty((len(batch), 0), np.float32))


def table_of(files: list[tuple[CountMap, Cells]], **settings) -> pd.DataFrame:
    return frame(describe(files, GeneStatisticsSettings(**settings)))


def frame(found) -> pd.DataFrame:
    return to_table(found).to_pandas()


def normalised(counts: np.ndarray = COUNTS) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1) * float(GOLDEN["target_sum"])


@pytest.mark.parametrize("compiled", [False, True])
def test_equals_the_golden_numbers(tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 900)
    monkeypatch.setattr(moments, "COMPILED_ABOVE", 0 if compiled else 10**9)
    table = table_of([stored(tmp_path / "x.h5ad")])
    whole = table[table["batch"].isna()]
    np.testing.assert_allclose(whole["lognorm_mean"], GOLDEN["exact_mean"], rtol=1e-12)
    np.testing.assert_allclose(whole["lognorm_variance_population"], GOLDEN["exact_var_ddof0"], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(whole["lognorm_mean"], GOLDEN["shifted_data_mean"], atol=1e-6)
    np.testing.assert_allclose(whole["lognorm_std_population"], GOLDEN["naive_std"], atol=2e-4)
    for code, name in enumerate(sorted(set(BATCH))):
        part = table[table["batch"] == name]
        np.testing.assert_allclose(part["lognorm_mean"], GOLDEN["exact_batch_mean"][code], rtol=1e-12)
        np.testing.assert_allclose(
            part["lognorm_variance_population"], GOLDEN["exact_batch_var_ddof0"][code], rtol=1e-9, atol=1e-14
        )
    known = ~np.isnan(GOLDEN["exact_nonzero_median"])
    np.testing.assert_allclose(whole["nonzero_median"][known], GOLDEN["exact_nonzero_median"][known], rtol=1e-6)
    assert list(whole["status"] == "never_seen") == list(~known)


def test_every_column_against_numpy(tmp_path):
    table = table_of([stored(tmp_path / "x.h5ad")], quantiles=(0.1, 0.9))
    values = normalised()
    for name, cells in [(None, np.ones(len(BATCH), bool)), *((b, b == BATCH) for b in sorted(set(BATCH)))]:
        rows = table[table["batch"].isna() if name is None else table["batch"] == name]
        counts, logs = COUNTS[cells].astype(float), np.log1p(values[cells])
        assert (rows["n_cells"] == cells.sum()).all()
        np.testing.assert_array_equal(rows["n_nonzero"], (counts > 0).sum(0))
        for prefix, x in (("", counts), ("lognorm_", logs)):
            for column, expected in {
                "mean": x.mean(0), "variance_population": x.var(0), "variance_sample": x.var(0, ddof=1),
                "std_population": x.std(0), "std_sample": x.std(0, ddof=1),
            }.items():  # fmt: skip
                np.testing.assert_allclose(rows[prefix + column], expected, rtol=1e-9, atol=1e-9)
    whole = table[table["batch"].isna()]
    for column, share in {"nonzero_q0.1": 0.1, "nonzero_median": 0.5, "nonzero_q0.9": 0.9}.items():
        expected = [np.quantile(v[v > 0], share) if (v > 0).any() else np.nan for v in values.T]
        np.testing.assert_allclose(whole[column], expected, rtol=1e-6)  # library sizes are stored as float32
    assert set(whole["quantile_method"].dropna()) == {"exact"} and (whole["quantile_error"].dropna() == 0).all()
    assert table["batch"].isna()[:150].all() and table[150:]["nonzero_median"].isna().all()


def test_unseen_genes_and_single_cells_have_a_status_and_no_nan(tmp_path):
    counts = COUNTS[:12].copy()
    counts[:, 3] = 0
    counts[:, 4] = 0
    counts[11, 4] = 2
    batch = np.array(["a"] * 11 + ["b"])
    found = to_table(describe([stored(tmp_path / "x.h5ad", counts, batch)], GeneStatisticsSettings()))
    table = found.to_pandas().set_index(["gene_id", "batch"])
    assert found["status"][3].as_py() == "never_seen" and found["status"][4].as_py() == "ok"
    assert table.loc[("g4", "a"), "status"] == "never_seen" and table.loc[("g4", "b"), "status"] == "one_cell"
    assert found["nonzero_median"][3].as_py() is None and found["mean"][3].as_py() == 0
    assert found["variance_sample"][150 * 2 + 4].as_py() is None
    for name in found.column_names:  # null says that nothing is known, NaN never occurs
        if found[name].type == "double":
            assert not np.isnan(found[name].drop_null().to_numpy()).any()


@pytest.mark.parametrize("cells", ["train", "all"])
def test_cells_that_are_described(tmp_path, cells):
    split = np.where(np.arange(len(BATCH)) % 3 == 0, "test", "train")
    table = table_of([stored(tmp_path / "x.h5ad", split=split)], cells=cells, by_batch=False)
    used = COUNTS[split == "train"] if cells == "train" else COUNTS
    assert len(table) == 150 and (table["n_cells"] == len(used)).all()
    np.testing.assert_allclose(table["mean"], used.mean(0), rtol=1e-12)
    medians = [np.median(v[v > 0]) if (v > 0).any() else np.nan for v in normalised(used).T]
    np.testing.assert_allclose(table["nonzero_median"], medians, rtol=1e-6)


def halves(tmp_path: Path) -> list[tuple[CountMap, Cells]]:
    """The cells in two files; the second lacks the first five genes, has them in another order, and its own batches."""
    first, order = COUNTS[:100], np.random.default_rng(0).permutation(np.arange(5, 150))
    return [
        stored(tmp_path / "a.h5ad", first, BATCH[:100]),
        stored(tmp_path / "b.h5ad", COUNTS[100:][:, order], BATCH[100:], [f"g{i}" for i in order]),
    ]


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Without what a digest knows only nearly."""
    return table[[c for c in table if not c.startswith(("nonzero_", "quantile_", "digest_"))]]


def test_several_files_are_one(tmp_path):
    counts = COUNTS.copy()
    counts[100:, :5] = 0
    library = np.array([COUNTS[:100].sum(1).tolist() + COUNTS[100:, 5:].sum(1).tolist()]).ravel()
    table = table_of(halves(tmp_path))
    whole = table[table["batch"].isna()].set_index("gene_id").loc[[f"g{i}" for i in range(150)]]
    assert whole["n_cells"].tolist() == [100] * 5 + [len(BATCH)] * 145
    expected = np.concatenate([counts[:100, :5].mean(0), counts[:, 5:].mean(0)])
    np.testing.assert_allclose(whole["mean"], expected, rtol=1e-12)
    values = counts / library[:, None] * float(GOLDEN["target_sum"])
    medians = [np.median(v[v > 0]) if (v > 0).any() else np.nan for v in values.T]
    np.testing.assert_allclose(whole["nonzero_median"], medians, rtol=1e-6)
    last = BATCH[-1]
    rows = table[table["batch"] == last].set_index("gene_id")
    np.testing.assert_allclose(rows.loc["g9", "variance_sample"], COUNTS[last == BATCH, 9].var(ddof=1), rtol=1e-9)


@pytest.mark.parametrize("digest", [240, 20])
def test_merged_parts_equal_the_whole(tmp_path, digest):
    files, settings = halves(tmp_path), GeneStatisticsSettings(digest=digest)
    whole, parts = describe(files, settings), []
    for name, file in zip("ab", files, strict=True):
        write_statistics(tmp_path / f"{name}.parquet", describe([file], settings), {})
        parts.append((name, read_statistics(tmp_path / f"{name}.parquet")))
    found = merge(parts, settings)
    assert found.genes == whole.genes and found.groups == whole.groups and found.recipe == whole.recipe
    pd.testing.assert_frame_equal(numbers(frame(found)), numbers(frame(whole)), rtol=1e-11, atol=1e-12)
    few = whole.n_nonzero[0] <= digest
    np.testing.assert_allclose(found.quantiles.values[:, few], whole.quantiles.values[:, few], rtol=1e-12)
    exact, near = whole.quantiles.values[:, ~few], found.quantiles.values[:, ~few]
    assert (digest == 240) == few.all() and np.allclose(near, exact, rtol=0.25)
    method = frame(found)["quantile_method"][:150]
    assert method[few & (whole.n_nonzero[0] > 0)].eq("exact").all() and method[~few].eq("t-digest").all()
    again = merge([("ab", found), ("a", parts[0][1])], settings)  # what is merged can be merged
    assert again.n_nonzero[0].sum() == found.n_nonzero[0].sum() + parts[0][1].n_nonzero[0].sum()


def test_quantiles_by_passes_and_by_digests(tmp_path, monkeypatch):
    file = stored(tmp_path / "x.h5ad", np.tile(COUNTS, (20, 1)), np.tile(BATCH, 20))
    exact = describe([file], GeneStatisticsSettings())
    sketched = describe([file], GeneStatisticsSettings(method="t-digest"))
    assert (exact.quantiles.errors[:, exact.n_nonzero[0] > 0] == 0).all()
    many = exact.n_nonzero[0] > 200
    assert (sketched.quantiles.errors[:, many] > 0).all()
    error = np.abs(sketched.quantiles.values / exact.quantiles.values - 1)[0, many]
    assert error.mean() < 0.005
    used = []
    monkeypatch.setattr("sclamp.data.nonzeros.n_passes", lambda sizes, memory: used.append(memory) or 9)
    for method, most, way in (("auto", 9, 0.0), ("auto", 8, 1.0), ("exact", 1, 0.0)):
        found = describe([file], GeneStatisticsSettings(method=method, max_passes=most, memory_mb=7))
        assert (found.quantiles.errors[0, many].max() > 0) == bool(way)
    assert used == [7_000_000] * 3
    monkeypatch.setattr("sclamp.data.nonzeros.n_passes", lambda sizes, memory: None)
    with pytest.raises(
        UserError, match=r"method: exact, but one gene has [\d,]+ counts, more than fit in memory_mb: 7"
    ):
        describe([file], GeneStatisticsSettings(method="exact", memory_mb=7))


def test_medians_for_tokenisers(tmp_path):
    counts = COUNTS.copy()
    counts[:, 7] = 0
    write_statistics(
        tmp_path / "g.parquet", describe([stored(tmp_path / "x.h5ad", counts)], GeneStatisticsSettings()), {}
    )
    ids, medians, status = read_medians(tmp_path / "g.parquet")
    assert ids.tolist() == [f"g{i}" for i in range(150)]
    assert status[7] == "never_seen" and (np.isnan(medians) == (status == "never_seen")).all()
    assert medians[0] == pytest.approx(np.median(normalised(counts)[:, 0][counts[:, 0] > 0]), rel=1e-6)


def test_the_script_describes_and_merges(tmp_path):
    halves(tmp_path)

    def run(*arguments: str) -> tuple[bytes, str]:
        command = [sys.executable, SCRIPT, *arguments, "--output", tmp_path / "out.parquet"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        (tmp_path / "out.parquet").rename(tmp_path / f"{arguments[1]}.parquet")
        return (tmp_path / f"{arguments[1]}.parquet").read_bytes(), done.stderr

    first, words = run("--cells", "a.h5ad")
    assert "150 genes, " in words and "never seen, in 100 cells of 3 batches" in words
    assert run("--cells", "a.h5ad")[0] == first
    run("--cells", "b.h5ad", "--settings", '{"quantiles": [0.3]}')
    run("--merge", "a.h5ad.parquet", "b.h5ad.parquet", "--settings", '{"quantiles": [0.05]}')
    table = pq.read_table(tmp_path / "a.h5ad.parquet.parquet")
    origin = json.loads(table.schema.metadata[b"sclamp"])
    assert table["n_cells"][20].as_py() == len(BATCH) and "nonzero_q0.05" in table.column_names
    assert list(origin["inputs"]) == ["a.h5ad.parquet", "b.h5ad.parquet"]
    assert origin["recipe"] == {"target_sum": float(GOLDEN["target_sum"]), "log1p": True}


def test_problems_are_named(tmp_path):
    file = stored(tmp_path / "a.h5ad")
    other = stored(tmp_path / "b.h5ad", target_sum=7.0)
    with pytest.raises(UserError, match=r"b\.h5ad: log-normalised with target_sum 7, log1p True, but .*a\.h5ad with 1"):
        describe([file, other], GeneStatisticsSettings())
    with pytest.raises(UserError, match="there are no training cells; describe all: `cells: all`"):
        describe([stored(tmp_path / "c.h5ad", split="test")], GeneStatisticsSettings())
    part, bare = describe([file], GeneStatisticsSettings()), describe([file], GeneStatisticsSettings(digest=0))
    with pytest.raises(UserError, match="merge: 1 part was named; at least 2"):
        merge([("a", part)], GeneStatisticsSettings())
    with pytest.raises(UserError, match="bare: holds no digests"):
        merge([("a", part), ("bare", bare)], GeneStatisticsSettings())
    with pytest.raises(UserError, match="digest: 0, but a merge needs digests"):
        merge([("a", part), ("b", part)], GeneStatisticsSettings(digest=0))
    assert "digest_means" not in frame(bare) and "digest_means" in frame(part)
    write_table(tmp_path / "no.parquet", {"gene_id": ["a"], "batch": ["b"]})
    for read in (read_statistics, read_medians):
        with pytest.raises(UserError, match=r"no\.parquet: not a table of describe_genes\.py: column '\w+' does not"):
            read(tmp_path / "no.parquet")
    for value in ((0.5,), (0.1, 0.1)):
        with pytest.raises(ValueError, match=r"each quantile is named once, and 0\.5 not at all"):
            GeneStatisticsSettings(quantiles=value)
