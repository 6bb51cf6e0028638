"""model.pt: equal bytes, no pickled code, and a clear word for every file that is not what it should be."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sclamp.config.linear import PCASettings
from sclamp.config.scilama import BetaVAESettings
from sclamp.core.errors import UserError
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.pca import PCA
from sclamp.models.scilama import BetaVAE
from sclamp.train.checkpoint import load_model, save_model, start_from
from sclamp.types import Covariates, DataSpec, GeneStatistics

GENES = tuple(f"G{i:04d}" for i in range(60))


@pytest.fixture
def saved(tiny_counts: Callable[..., Path], tmp_path: Path) -> Path:
    counts = tiny_counts()
    data = describe(counts, {})
    model = PCA(PCASettings(latent_dim=4), data)
    batches = Batches(read_inputs(counts, data), model.wants(), torch.device("cpu"))
    model.fit(batches)
    save_model(tmp_path / "model.pt", model, batches.statistics, {"script": "x"})
    return tmp_path / "model.pt"


def test_round_trip_and_equal_bytes_under_another_name(saved: Path, tmp_path: Path):
    model, statistics, provenance = load_model(saved)
    assert provenance == {"script": "x"}
    assert not model.training
    save_model(tmp_path / "elsewhere" / "again.pt", model, statistics, provenance)
    assert (tmp_path / "elsewhere" / "again.pt").read_bytes() == saved.read_bytes()


def test_holds_tensors_text_and_numbers_only(saved: Path):
    with zipfile.ZipFile(saved) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        operations = list(pickletools.genops(archive.read(pickled)))
    named = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    allowed = ("torch._utils _rebuild_tensor", "torch FloatStorage", "torch LongStorage", "collections OrderedDict")
    assert named
    assert all(name.startswith(allowed) for name in named)


def test_a_view_does_not_drag_its_whole_storage_along(saved: Path, tmp_path: Path):
    model, statistics, provenance = load_model(saved)
    before = saved.stat().st_size
    model.mean = torch.zeros(1_000_000)[: len(model.mean)]
    save_model(tmp_path / "view.pt", model, statistics, provenance)
    assert (tmp_path / "view.pt").stat().st_size == before


def _edited(path: Path, **changes: Any) -> Path:
    content = torch.load(path, weights_only=True)
    for name, value in changes.items():
        content.pop(name) if value is None else content.update({name: value})
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 1}, "has format 1, this version reads format 2"),
        ({"format": None}, "not a model.pt of train_model.py"),
        ({"gene_mean": None, "state": None}, "damaged; gene_mean, state missing"),
        ({"mode": "pcaa"}, "mode 'pcaa' does not exist; did you mean 'pca'"),
        (
            {"settings": json.dumps({"mode": "pca", "components": 3})},
            "made by another version of mode 'pca' .*components",
        ),
        ({"state": {"mean": torch.zeros(60)}}, "made by another version of mode 'pca' .*Missing key"),
    ],
)
def test_files_of_another_kind(saved: Path, changes: dict[str, Any], words: str):
    with pytest.raises(UserError, match=words) as caught:
        load_model(_edited(saved, **changes))
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 1000, 0.5, -1])
def test_truncated_files(saved: Path, keep: float):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"model.pt: cannot be read as a model; truncated, or another kind of file"):
        load_model(saved)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere.pt: no such file"):
        load_model(tmp_path / "nowhere.pt")


# --- warm starts ------------------------------------------------------------------------------------------------------


def _vae(genes: tuple[str, ...], batches: tuple[str, ...] = ("one", "two"), seed: int = 0) -> BetaVAE:
    torch.manual_seed(seed)
    data = DataSpec(genes, batches, covariates=Covariates({"batch": batches}))
    return BetaVAE(BetaVAESettings(hidden_dims=(16,), latent_dim=4), data)


def _save(path: Path, model: BetaVAE) -> Path:
    n = model.data.n_genes
    save_model(path, model, GeneStatistics(torch.zeros(n), torch.ones(n)), {})
    return path


def test_warm_start_takes_equal_parameters(tmp_path: Path):
    source, model = _vae(GENES, seed=1), _vae(GENES, seed=2)
    taken = start_from(model, _save(tmp_path / "model.pt", source))
    assert set(taken) == set(source.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in source.state_dict().items())


def test_warm_start_sorts_and_picks_genes_by_name(tmp_path: Path):
    source = _vae(GENES, seed=1).eval()
    order = np.random.default_rng(0).permutation(60)[:55]
    model = _vae(tuple(GENES[i] for i in order), seed=2).eval()
    start_from(model, _save(tmp_path / "model.pt", source))
    x, covariates = torch.randn(5, 60), torch.eye(2)[[0, 1, 0, 1, 1]]
    x[:, np.setdiff1d(np.arange(60), order)] = 0  # what the smaller model cannot see
    mean = source.cells.posterior(x, covariates).mean
    assert model.cells.posterior(x[:, order], covariates).mean.detach() == pytest.approx(mean.detach(), abs=1e-5)
    z = torch.randn(5, 4)
    whole = source.cells.factors(z, covariates) @ source.loadings.T + source.cells.offset(covariates)
    part = model.cells.factors(z, covariates) @ model.loadings.T + model.cells.offset(covariates)
    assert part.detach() == pytest.approx(whole[:, order].detach(), abs=1e-5)


def test_warm_start_names_what_does_not_fit(tmp_path: Path):
    path = _save(tmp_path / "model.pt", _vae(GENES))
    with pytest.raises(UserError, match="lacks 2 of the 4 that are needed, such as X1, X2; it has 60, such as G0000"):
        start_from(_vae(("G0000", "X1", "X2", "G0001")), path)
    with pytest.raises(UserError, match=r"other covariates: \['batch'\] of width 2, expected \['batch'\] of width 3"):
        start_from(_vae(GENES, batches=("one", "two", "three")), path)


def test_warm_start_from_a_model_that_shares_nothing(saved: Path, tiny_counts: Callable[..., Path]):
    model = BetaVAE(BetaVAESettings(hidden_dims=(16,)), describe(tiny_counts(name="b.h5ad"), {}))
    with pytest.raises(UserError, match="mode 'pca' shares no parameter of equal size with mode 'beta_vae'"):
        start_from(model, saved)
