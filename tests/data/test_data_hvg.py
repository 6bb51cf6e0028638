"""Highly variable genes equal scanpy's and the golden numbers, batch by batch and block by block."""

import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data import h5ad, hvg
from sclamp.data.h5ad import Cells, CountMap, counts_writer
from sclamp.data.select import Selection, select_genes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scanpy

GOLDEN = np.load(Path(__file__).parents[1] / "golden/cellarium/hvg_seurat_v3.npz", allow_pickle=False)
REAL = Path(__file__).parents[2] / "workflow/demo/pancreas.h5ad"
FLAVORS = ["seurat_v3", "seurat_v3_paper", "seurat", "cell_ranger"]


def stored(path: Path, counts: np.ndarray, batch: np.ndarray, train: np.ndarray | None = None, names=None):
    """Write counts as prepare does, and read them back as select_genes does."""
    matrix = sparse.csr_matrix(counts, dtype=np.float32)
    n_cells = matrix.shape[0]
    split = np.where(np.ones(n_cells, bool) if train is None else train, "train", "test")
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.asarray(batch).astype(str)),
            "split": pd.Categorical(split, categories=["train", "val", "test"]),
            "library_size": np.asarray(matrix.sum(1)).ravel(),
        },
        index=[f"c{i}" for i in range(n_cells)],
    )
    names = [f"g{i:05d}" for i in range(matrix.shape[1])] if names is None else names
    var = pd.DataFrame({"symbol": names}, index=pd.Index(names, dtype=object))
    spec = {"recipe": {"target_sum": 1e4, "log1p": True, "clip": 10.0}, "batches": [], "labels": [], "covariates": {}}
    with counts_writer(path, obs, var, matrix.nnz, "f4", "i4", {}, {"spec": spec, "provenance": {}}) as writer:
        writer.append(matrix)
    return CountMap(path), Cells(obs, var, spec, np.empty((n_cells, 0), np.float32))


def ours(counts: CountMap, cells: Cells, **settings) -> pd.DataFrame:
    return select_genes(counts, cells, GeneSelection(**settings)).table


def scanpys(
    counts: np.ndarray | sparse.csr_matrix, batch: np.ndarray | None, flavor: str, n_genes: int
) -> pd.DataFrame:
    data = anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float64))
    data.var_names = [f"g{i:05d}" for i in range(data.n_vars)]
    if batch is not None:
        data.obs["batch"] = pd.Categorical(np.asarray(batch).astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not flavor.startswith("seurat_v3"):
            scanpy.pp.normalize_total(data, target_sum=1e4)
            scanpy.pp.log1p(data)
        key = "batch" if batch is not None else None
        table = scanpy.pp.highly_variable_genes(data, flavor=flavor, n_top_genes=n_genes, batch_key=key, inplace=False)
    return table if table.index.equals(data.var_names) or len(table) != data.n_vars else table.set_axis(data.var_names)


def same(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    score = "variances_norm" if "variances_norm" in theirs else "dispersions_norm"
    np.testing.assert_allclose(mine[score], theirs[score], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(mine["selected"], theirs["highly_variable"])
    if score == "variances_norm":
        for name in ("means", "variances"):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-10)
        np.testing.assert_array_equal(mine["rank"], theirs["highly_variable_rank"])
    if "highly_variable_nbatches" in theirs:
        np.testing.assert_array_equal(mine["n_batches"], theirs["highly_variable_nbatches"])


@pytest.fixture(scope="module")
def synthetic() -> tuple[np.ndarray, np.ndarray]:
    """400 cells of 3 batches, 600 genes: many rare ones, one of zeros, two constant ones, one that a batch lacks."""
    rng = np.random.default_rng(3)
    batch = rng.choice(["x", "y", "z"], 400, p=[0.5, 0.3, 0.2])
    rates = rng.lognormal(-1, 1.5, 600) * rng.gamma(rng.gamma(2, 1, 600), 1, (400, 600))
    counts = rng.poisson(rates)
    counts[:, 7], counts[:, 8], counts[:, 9] = 0, 1, 3
    counts[batch == "y", 10] = 0
    return counts, batch


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("batch_aware", [False, True])
@pytest.mark.parametrize("n_genes", [60, 250])
def test_equals_scanpy(tmp_path, monkeypatch, synthetic, flavor, batch_aware, n_genes):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 9000)  # several blocks, cutting through batches
    counts, batch = synthetic
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    mine = ours(mapped, cells, flavor=flavor, n_genes=n_genes, batch_aware=batch_aware)
    same(mine, scanpys(counts, batch if batch_aware else None, flavor, n_genes))


@pytest.mark.parametrize("flavor", FLAVORS)
def test_only_training_cells_decide(tmp_path, synthetic, flavor):
    counts, batch = synthetic
    train = np.arange(400) % 3 != 0
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch, train)
    same(ours(mapped, cells, flavor=flavor, n_genes=100), scanpys(counts[train], batch[train], flavor, 100))
    every = select_genes(mapped, cells, GeneSelection(flavor=flavor, n_genes=100, cells="all"))
    same(every.table, scanpys(counts, batch, flavor, 100))


@pytest.mark.parametrize("flavor", FLAVORS)
def test_equals_scanpy_on_real_data(tmp_path, flavor):
    data = anndata.read_h5ad(REAL)
    counts, batch = data.X, data.obs["library"].to_numpy()
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    same(ours(mapped, cells, flavor=flavor, n_genes=2000), scanpys(counts, batch, flavor, 2000))


@pytest.mark.parametrize("flavor", ["seurat_v3", "seurat_v3_paper"])
@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("n_genes", [20, 50])
def test_golden_numbers(tmp_path, monkeypatch, flavor, batches, n_genes):
    monkeypatch.setattr("sclamp.data.select.FEWEST_GENES", 1)
    mapped, cells = stored(tmp_path / "x.h5ad", GOLDEN["counts"], GOLDEN["batch"])
    mine = ours(mapped, cells, flavor=flavor, n_genes=n_genes, batch_aware=batches == 3)
    key = f"{batches}batch.{flavor}.top{n_genes}"
    np.testing.assert_allclose(mine["variances_norm"], GOLDEN[f"{key}.variances_norm"], rtol=1e-9)
    np.testing.assert_array_equal(mine["selected"], GOLDEN[f"{key}.scanpy_highly_variable"])
    np.testing.assert_array_equal(mine["rank"], GOLDEN[f"{key}.rank"])
    if batches == 3:
        np.testing.assert_array_equal(mine["n_batches"], GOLDEN[f"{key}.nbatches"])


@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_order_of_genes_decides_ties_only(tmp_path, synthetic, flavor):
    counts, batch = synthetic
    order = np.random.default_rng(0).permutation(600)
    names = np.array([f"g{i:05d}" for i in range(600)], dtype=object)
    settings = {"flavor": flavor, "n_genes": 80, "batch_aware": False}
    first = ours(*stored(tmp_path / "a.h5ad", counts, batch), **settings).set_index("gene_id")
    other = ours(*stored(tmp_path / "b.h5ad", counts[:, order], batch, names=names[order]), **settings).set_index(
        "gene_id"
    )
    other = other.loc[first.index]
    score = "variances_norm" if flavor.startswith("seurat_v3") else "dispersions_norm"
    np.testing.assert_allclose(first[score], other[score], rtol=1e-9)
    differ = first[score][first["selected"] != other["selected"]]
    assert len(differ) < 10 and (len(differ) == 0 or np.ptp(differ) < 1e-9)


# --- the local regression ---------------------------------------------------------------------------------------------


def with_small_batches(sizes: dict[str, int], rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Batches below 50 cells have `rate` counts per gene and cell."""
    rng = np.random.default_rng(0)
    batch = np.repeat(list(sizes), list(sizes.values()))
    rates = rng.lognormal(0, 1, 200) * rng.gamma(1, 1, (len(batch), 200))
    small = np.isin(batch, [name for name, n in sizes.items() if n < 50])
    return np.where(small[:, None], rng.poisson(rate, rates.shape), rng.poisson(rates)), batch


def test_batches_without_a_trend_are_left_out_and_named(tmp_path):
    sizes = {"big": 150, "one": 1, "rare": 6, "second": 150}
    counts, batch = with_small_batches(sizes, 0.004)
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    found = select_genes(mapped, cells, GeneSelection(n_genes=60))
    assert found.notes == [
        "gene selection: fewer than 2 cells (min_cells_per_batch) in 'one' (1 cells); these batches do not count.",
        "gene selection: the local regression fails in 'rare' (6 cells); these batches do not count.",
    ]
    large = np.isin(batch, ["big", "second"])
    theirs = scanpys(counts[large], batch[large], "seurat_v3", 60)
    np.testing.assert_allclose(found.table["variances_norm"], theirs["variances_norm"], rtol=1e-10)
    np.testing.assert_array_equal(found.table["selected"], theirs["highly_variable"])


def test_a_fit_that_fails_is_tried_again_with_shifted_means():
    rng = np.random.default_rng(0)
    mean = rng.choice(10.0 ** np.linspace(-2, 1, 25), 400)  # few distinct means: singular at the first try
    variance = mean * rng.lognormal(0, 0.1, 400)
    from skmisc.loess import loess

    with pytest.raises(ValueError, match=r".+"):
        loess(np.log10(mean), np.log10(variance), span=0.1, degree=2).fit()
    trend = hvg.variance_trend(mean, variance, 0.1)
    assert trend is not None and 0 < trend.jitter <= 1e-6
    assert np.median(np.abs(np.log10(trend.std**2 / mean))) < 0.05


@pytest.mark.parametrize(("n_varying", "span"), [(0, 0.3), (3, 0.3), (9, 1.0), (200, 0.01)])
def test_too_few_points_do_not_bring_the_interpreter_down(n_varying, span):
    mean = np.linspace(1, 2, 300)
    assert hvg.variance_trend(mean, np.where(np.arange(300) < n_varying, mean, 0.0), span) is None


def test_no_batch_with_a_trend(tmp_path):
    counts, batch = with_small_batches({"a": 6, "b": 4}, 0.004)
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    with pytest.raises(UserError, match=r"'seurat_v3' fails in 'a' \(6 cells\), 'b' \(4 cells\); use a larger span"):
        ours(mapped, cells)


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_other_flavors_work_in_small_batches(tmp_path, flavor):
    """Where scanpy stops (bin edges that are not unique) or ranks by what rounding leaves."""
    counts, batch = with_small_batches({"big": 150, "rare": 6}, 0.02)
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    mine = ours(mapped, cells, flavor=flavor, n_genes=60)
    large = scanpys(counts[batch == "big"], None, flavor, 60)
    assert mine["selected"].sum() == 60 and not np.isinf(mine["dispersions_norm"]).any()
    assert (mine["selected"] & large["highly_variable"].to_numpy()).sum() > 40


def test_a_shift_that_was_needed_is_noted(tmp_path):
    counts, batch = with_small_batches({"big": 150, "rare": 6}, 0.02)
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    notes = select_genes(mapped, cells, GeneSelection(n_genes=60)).notes
    assert len(notes) == 1 and "in 'rare' (6 cells) took means shifted by up to 1e-" in notes[0]


def test_a_selection_knows_its_mask():
    table = pd.DataFrame({"selected": [True, False]})
    assert Selection(table, np.uint8).selected.tolist() == [True, False]


# --- several numbers of genes, least cells and batches ----------------------------------------------------------------


@pytest.mark.parametrize("flavor", FLAVORS)
def test_several_numbers_of_genes_in_one_pass(tmp_path, monkeypatch, synthetic, flavor):
    counts, batch = synthetic
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    passes = []
    blocks = h5ad.row_blocks
    monkeypatch.setattr("sclamp.data.moments.row_blocks", lambda indptr: passes.append(1) or blocks(indptr))
    together = ours(mapped, cells, flavor=flavor, n_genes=60, further_n_genes=(250, 120))
    assert len(passes) == (2 if flavor.startswith("seurat_v3") else 1)
    assert list(together["selected"]) == list(ours(mapped, cells, flavor=flavor, n_genes=60)["selected"])
    for n in (250, 120):
        alone = ours(mapped, cells, flavor=flavor, n_genes=n)
        for name in ("selected", "rank", "n_batches"):
            np.testing.assert_array_equal(together[f"{name}_{n}"], alone[name])


def test_the_best_100_are_not_the_first_100_of_the_best_200(tmp_path, synthetic):
    counts, batch = synthetic
    table = ours(*stored(tmp_path / "x.h5ad", counts, batch), n_genes=100, further_n_genes=(200,))
    first = table["rank_200"].rank(method="first") <= 100
    assert (table["selected"] != first).any()


@pytest.mark.parametrize("flavor", FLAVORS)
def test_batches_with_few_cells_do_not_count(tmp_path, synthetic, flavor):
    counts, batch = synthetic
    sizes = {name: int((batch == name).sum()) for name in "xyz"}
    least = sorted(sizes.values())[0] + 1
    small = min(sizes, key=sizes.__getitem__)
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    found = select_genes(mapped, cells, GeneSelection(flavor=flavor, n_genes=100, min_cells_per_batch=least))
    assert found.notes == [
        f"gene selection: fewer than {least} cells (min_cells_per_batch) in '{small}' ({sizes[small]} cells); "
        "these batches do not count."
    ]
    theirs = scanpys(counts[batch != small], batch[batch != small], flavor, 100)
    np.testing.assert_array_equal(found.table["selected"], theirs["highly_variable"])
    with pytest.raises(UserError, match="no batch is left; use batch_aware: false"):
        ours(mapped, cells, flavor=flavor, min_cells_per_batch=401)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_genes_must_be_in_the_top_of_enough_batches(tmp_path, synthetic, flavor):
    counts, batch = synthetic
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    free = ours(mapped, cells, flavor=flavor, n_genes=120)
    strict = ours(mapped, cells, flavor=flavor, n_genes=120, min_batches=2)
    assert (strict["n_batches"][strict["selected"]] >= 2).all()
    assert (free["n_batches"][free["selected"]] < 2).any()
    eligible = (free["n_batches"] >= 2).sum()
    assert strict["selected"].sum() == min(eligible, 120)
    with pytest.raises(UserError, match="min_batches: 4, but 3 batches count; at most 3"):
        ours(mapped, cells, flavor=flavor, min_batches=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flavor": "all", "further_n_genes": (5,)}, "flavor 'all' ranks no genes, so `further_n_genes` has no"),
        ({"n_genes": 5, "further_n_genes": (5,)}, "takes numbers from 1, each once and none equal to `n_genes`"),
        ({"further_n_genes": (0,)}, "takes numbers from 1, each once and none equal to `n_genes`"),
        ({"min_batches": 2, "batch_aware": False}, "min_batches: 2, but with batch_aware: false all cells are one"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        GeneSelection(**settings)


# --- compiled sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("kind", ["f4", "u1"])
def test_compiled_sums_are_the_same_and_independent_of_blocks(tmp_path, monkeypatch, synthetic, flavor, kind):
    counts, batch = synthetic
    counts = np.minimum(counts, 255)
    counts[3, 5] = 40 if kind == "u1" else 300  # beyond the logarithms that are kept, and beyond one byte
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch, np.arange(400) % 5 > 0)
    mapped.data = np.asarray(mapped.data).astype(kind)
    plain = select_genes(mapped, cells, GeneSelection(flavor=flavor, n_genes=100))
    monkeypatch.setattr("sclamp.data.moments.COMPILED_ABOVE", 0)
    compiled = select_genes(mapped, cells, GeneSelection(flavor=flavor, n_genes=100))
    pd.testing.assert_frame_equal(compiled.table, plain.table, rtol=1e-12)
    assert compiled.packed_type == plain.packed_type == (np.uint8 if kind == "u1" else np.uint16)
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 777)
    again = select_genes(mapped, cells, GeneSelection(flavor=flavor, n_genes=100))
    pd.testing.assert_frame_equal(again.table, compiled.table, check_exact=True)


def test_scores_equal_scanpys_to_twelve_digits(tmp_path, monkeypatch):
    data = anndata.read_h5ad(REAL)
    counts, batch = data.X, data.obs["library"].to_numpy()
    mapped, cells = stored(tmp_path / "x.h5ad", counts, batch)
    theirs = scanpys(counts, batch, "seurat_v3", 2000)
    for least in (10**9, 0):
        monkeypatch.setattr("sclamp.data.moments.COMPILED_ABOVE", least)
        mine = ours(mapped, cells, n_genes=2000)
        np.testing.assert_allclose(mine["variances_norm"], theirs["variances_norm"], rtol=1e-12)
        np.testing.assert_array_equal(mine["selected"], theirs["highly_variable"])
