"""PCA against sklearn's singular value decomposition, Harmony against harmonypy called by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sclamp.config.linear import HarmonySettings, PCASettings
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.base import Stream
from sclamp.models.harmony import Harmony
from sclamp.models.pca import PCA
from sclamp.types import Batch, DataSpec

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def _batches(path: Path, wants: frozenset[str]) -> Batches:
    return Batches(read_inputs(path, describe(path, {})), wants, torch.device("cpu"))


def _matrix(batches: Batches, name: str, split: str | None) -> np.ndarray:
    return np.concatenate([getattr(batch, name).double().numpy() for batch in batches.batches(split)])


@pytest.mark.parametrize("kind", ["scaled", "lognorm"])
@pytest.mark.parametrize("n_cells", [1400, 70], ids=["more cells than genes", "fewer cells than genes"])
@pytest.mark.parametrize("solver", ["covariance", "randomized"])
def test_pca_equals_sklearn(tiny_counts: Callable[..., Path], kind: str, n_cells: int, solver: str):
    decomposition = pytest.importorskip("sklearn.decomposition")
    path = tiny_counts(n_cells=n_cells)
    model = PCA(PCASettings(input=kind, latent_dim=7, solver=solver), describe(path, {}))
    batches = _batches(path, model.wants())
    model.fit(batches)
    x = _matrix(batches, kind, "train")
    oracle = decomposition.PCA(7, svd_solver="full").fit(x)
    signs = np.sign((oracle.components_ * model.components.numpy()).sum(1))
    assert model.components.numpy() == pytest.approx(oracle.components_ * signs[:, None], abs=1e-6)
    assert model.explained_variance.numpy() == pytest.approx(oracle.explained_variance_, rel=1e-6)
    assert model.explained_variance_ratio.numpy() == pytest.approx(oracle.explained_variance_ratio_, rel=1e-6)
    assert model.mean.numpy() == pytest.approx(oracle.mean_, abs=1e-6)
    z = np.concatenate([model.embed_cells(batch).numpy() for batch in batches.batches("test")])
    assert z == pytest.approx(oracle.transform(_matrix(batches, kind, "test")) * signs, abs=1e-3)
    loadings = oracle.components_.T * signs * np.sqrt(oracle.explained_variance_)
    assert model.embed_genes().numpy() == pytest.approx(loadings, abs=1e-4)
    assert model.summary()["explained_variance_ratio"] == pytest.approx(
        oracle.explained_variance_ratio_.sum(), rel=1e-5
    )
    again = np.concatenate([model.reconstruct(batch).numpy() for batch in batches.batches("test")])
    assert again == pytest.approx(oracle.inverse_transform(z * signs), abs=1e-3)


class Cells(Stream):
    """Scaled expression (n, genes), in batches of 100."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = torch.from_numpy(x)

    def batches(self, split: str | None) -> Iterator[Batch]:
        for x in self.x.split(100) if len(self.x) else ():
            yield Batch(torch.arange(len(x)), torch.zeros(len(x), 0), torch.zeros(len(x)), torch.ones(len(x)), scaled=x)


@pytest.fixture(scope="module")
def long_tail() -> np.ndarray:
    """700 cells x 300 genes whose variances fall slowly: what merging truncated minibatches loses piece by piece."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(700, 300)) * np.linspace(1.5, 0.5, 300)).astype(np.float32)


@pytest.mark.parametrize("solver", ["covariance", "randomized"])
def test_the_last_component_keeps_its_variance(long_tail: np.ndarray, solver: str):
    """Merging minibatches that are cut to k components each, as incremental PCA does, loses the tail."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    exact = np.linalg.svd(long_tail - long_tail.mean(0, dtype=np.float64), compute_uv=False) ** 2 / 699
    incremental = decomposition.IncrementalPCA(20, batch_size=100).fit(long_tail).explained_variance_
    assert incremental[-1] < 0.85 * exact[19]
    model = PCA(PCASettings(latent_dim=20, solver=solver), DataSpec(tuple(f"g{i}" for i in range(300)), n_cells=700))
    model.fit(Cells(long_tail))
    assert model.explained_variance.numpy() == pytest.approx(exact[:20], rel=1e-6)
    assert float(model.explained_variance_ratio.sum()) == pytest.approx(exact[:20].sum() / exact.sum(), rel=1e-6)


def test_a_randomized_fit_says_how_good_it_is(long_tail: np.ndarray):
    data = DataSpec(tuple(f"g{i}" for i in range(300)), n_cells=700)
    found = {}
    for passes, oversampling in ((2, 5), (20, 5), (20, 100)):
        settings = PCASettings(latent_dim=20, solver="randomized", max_passes=passes, oversampling=oversampling)
        model = PCA(settings, data)
        model.fit(Cells(long_tail))
        found[passes, oversampling] = model.summary()
    assert found[2, 5]["passes"] == 2 and found[2, 5]["residual"] > 0.01
    assert found[20, 100]["residual"] < 1e-4 and found[20, 5]["residual"] < 1e-4
    assert found[20, 100]["passes"] < found[20, 5]["passes"]
    exact = PCA(PCASettings(latent_dim=20), data)
    exact.fit(Cells(long_tail))
    assert set(exact.summary()) == {"explained_variance_ratio"}


def test_many_genes_and_cells_are_fitted_without_their_covariance(monkeypatch, long_tail: np.ndarray):
    genes = tuple(f"g{i}" for i in range(300))
    monkeypatch.setattr("sclamp.models.pca.LARGEST_MATRIX", 8 * 300 * 299)
    for n_cells, randomized in ((0, True), (700, True), (299, False)):
        model = PCA(PCASettings(latent_dim=20), DataSpec(genes, n_cells=n_cells))
        model.fit(Cells(long_tail))
        assert ("passes" in model.summary()) == randomized


@pytest.mark.parametrize("solver", ["covariance", "randomized"])
@pytest.mark.parametrize("n_cells", [0, 1])
def test_a_fit_needs_two_cells(solver: str, n_cells: int):
    model = PCA(PCASettings(latent_dim=2, solver=solver), DataSpec(("A", "B", "C")))
    with pytest.raises(ValueError, match=f"pca: {n_cells} cells to fit to; at least 2 are needed"):
        model.fit(Cells(np.ones((n_cells, 3), np.float32)))


def test_cells_that_are_all_alike_vary_along_nothing():
    for solver in ("covariance", "randomized"):
        model = PCA(PCASettings(latent_dim=2, solver=solver), DataSpec(("A", "B", "C")))
        model.fit(Cells(np.full((5, 3), 2.0, np.float32)))
        assert model.explained_variance.tolist() == [0, 0] and model.summary()["explained_variance_ratio"] == 0
        assert torch.isfinite(model.components).all()


def test_the_largest_entry_of_each_component_is_positive(tiny_counts: Callable[..., Path]):
    path = tiny_counts()
    model = PCA(PCASettings(latent_dim=9), describe(path, {}))
    model.fit(_batches(path, model.wants()))
    largest = model.components.gather(1, model.components.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


def test_components_beyond_genes_or_cells_are_refused(tiny_counts: Callable[..., Path]):
    path = tiny_counts(n_cells=30)  # 21 training cells
    with pytest.raises(ValueError, match="latent_dim: 61 components were asked for, but there are 60 genes"):
        PCA(PCASettings(latent_dim=61), describe(path, {}))
    model = PCA(PCASettings(latent_dim=21), describe(path, {}))
    with pytest.raises(ValueError, match="21 components were asked for, but there are 20 cells less one; at most 20"):
        model.fit(_batches(path, model.wants()))


def test_harmony_equals_harmonypy_on_the_components_of_all_cells(tiny_counts: Callable[..., Path]):
    decomposition = pytest.importorskip("sklearn.decomposition")
    harmonypy = pytest.importorskip("harmonypy")
    path = tiny_counts(n_cells=400)
    model = Harmony(HarmonySettings(latent_dim=6, theta=1.0), describe(path, {}))
    batches = _batches(path, model.wants())
    model.fit(batches)
    x = _matrix(batches, "scaled", None)
    z = decomposition.PCA(6, svd_solver="full").fit_transform(x)
    signs = np.sign((z * np.concatenate([model.pca.embed_cells(b).numpy() for b in batches.batches(None)])).sum(0))
    expected = harmonypy.run_harmony(
        z * signs, {"batch": batches.inputs.batch}, "batch", theta=1.0, nclust=13, verbose=False, random_state=0
    ).Z_corr
    assert model.embedding.numpy() == pytest.approx(expected, abs=5e-2 * np.abs(expected).max())
    assert np.corrcoef(model.embedding.numpy().ravel(), expected.ravel())[0, 1] > 0.9999
    part = next(iter(batches.batches("test")))
    assert torch.equal(model.embed_cells(part), model.embedding[part.rows])


def test_harmony_mixes_batches(tiny_counts: Callable[..., Path]):
    path = tiny_counts(n_cells=600)
    model = Harmony(HarmonySettings(latent_dim=6), describe(path, {}))
    batches = _batches(path, model.wants())
    model.fit(batches)
    codes = batches.inputs.batch
    apart = {}
    before = np.concatenate([model.pca.embed_cells(b).numpy() for b in batches.batches(None)])
    for name, z in (("before", before), ("after", model.embedding.numpy())):
        apart[name] = np.linalg.norm(z[codes == 0].mean(0) - z[codes == 1].mean(0))
    assert apart["after"] < 0.5 * apart["before"]


def test_harmony_does_not_depend_on_the_number_of_threads():
    code = (
        "import sys, hashlib, numpy as np\n"
        "from harmonypy import run_harmony\n"
        "rng = np.random.default_rng(0)\n"
        "z = rng.normal(size=(900, 10)); b = rng.integers(0, 3, 900); z[:, 0] += b\n"
        "r = run_harmony(z, {'batch': b}, 'batch', verbose=False, random_state=0, ncores=int(sys.argv[1]))\n"
        "print(hashlib.sha256(np.ascontiguousarray(r.Z_corr).tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, threads], capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_harmony_needs_two_batches(tiny_counts: Callable[..., Path]):
    path = tiny_counts(one_batch=True)
    model = Harmony(HarmonySettings(latent_dim=5), describe(path, {}))
    with pytest.raises(ValueError, match="all cells are of one batch"):
        model.fit(_batches(path, model.wants()))


def test_harmony_knows_only_its_cells():
    model = Harmony(HarmonySettings(latent_dim=2), DataSpec(("A", "B", "C")))
    model.embedding = torch.zeros(4, 2)
    batch = Batch(torch.tensor([1, 4]), torch.zeros(2, 0), torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match="transductive: it knows the 4 cells that it was fitted to"):
        model.embed_cells(batch)
