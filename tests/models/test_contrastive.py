"""The contrastive encoder: published numbers, its augmentations, what it reads and what it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from sclamp.config.contrastive import ContrastiveSettings
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_inputs
from sclamp.models.augmentations import Range, dropped, noisy, thinned
from sclamp.models.contrastive import Contrastive, Encoder
from sclamp.models.noise import Noise
from sclamp.models.nt_xent import nt_xent
from sclamp.types import Batch, Progress

CPU, PROGRESS = torch.device("cpu"), Progress(0, 1)
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cellarium"


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", ["0.1", "0.5", "1.0"])
def test_nt_xent_of_the_published_code(temperature: str) -> None:
    values = golden("nt_xent.npz")
    first, second = (F.normalize(values[name], dim=1) for name in ("z1", "z2"))
    loss = nt_xent(first, second, float(temperature)).loss.mean()
    assert float(loss) == pytest.approx(float(values[f"loss_T{temperature}"]), rel=1e-5)


def test_nt_xent_is_its_definition() -> None:
    """Written out: each view against its partner and all other views, but not against itself."""
    generator = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(5, 3, generator=generator), dim=1) for _ in range(2))
    z = torch.cat([first, second]).double().numpy()
    expected = np.zeros(5)
    for i in range(10):
        similar = np.exp(z @ z[i] / 0.4)
        expected[i % 5] += -np.log(similar[(i + 5) % 10] / (similar.sum() - similar[i])) / 2
    pairs = nt_xent(first, second, 0.4)
    assert pairs.loss.numpy() == pytest.approx(expected, rel=1e-5)
    same = nt_xent(first, first, 0.4)
    assert (same.found == 1).all() and float(pairs.found.mean()) < 1


def published() -> tuple[dict[str, torch.Tensor], Encoder]:
    """The published weights. Its linear maps before BatchNorm have a bias, which only moves the running mean."""
    values = golden("contrastive_mlp.npz")
    encoder, biases = Encoder([14, 8, 6, 4], batch_norm=True), []
    with torch.no_grad():
        for i, layer in enumerate(encoder.linear):
            layer.weight.copy_(values[f"w.layers.{3 * i}.weight"])
            biases.append(values[f"w.layers.{3 * i}.bias"])
        encoder.linear[2].bias.copy_(biases[2])
        for i, norm in enumerate(encoder.norm):
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, name).copy_(values[f"w.layers.{3 * i + 1}.{name}"])
            norm.running_mean -= biases[i]
    values["biases"] = biases
    return values, encoder


def test_encoder_and_loss_of_the_published_code() -> None:
    values, encoder = published()
    temperature = float(values["temperature"])

    def loss() -> float:
        first, second = F.normalize(encoder(values["x"]), dim=1).chunk(2)
        return float(nt_xent(first, second, temperature).loss.mean().detach())

    encoder.eval()
    with torch.no_grad():
        z = F.normalize(encoder(values["x"]), dim=1)
    assert z.numpy() == pytest.approx(values["embedding_eval"].numpy(), abs=1e-5)
    assert loss() == pytest.approx(float(values["loss_eval"]), rel=1e-5)
    encoder.train()
    assert loss() == pytest.approx(float(values["loss_train"]), rel=1e-5)
    for i, norm in enumerate(encoder.norm):
        seen = {
            name: values[f"after_train_forward.layers.{3 * i + 1}.{name}"] for name in ("running_mean", "running_var")
        }
        assert (norm.running_mean + values["biases"][i]).numpy() == pytest.approx(
            seen["running_mean"].numpy(), abs=1e-5
        )
        assert norm.running_var.numpy() == pytest.approx(seen["running_var"].numpy(), rel=1e-4)


# --- augmentations ----------------------------------------------------------------------------------------------------


def noise(step: int = 0, n: int = 400) -> Noise:
    return Noise(1, step, 0, n)


def test_each_range_and_probability_does_what_it_says() -> None:
    counts = torch.full((400, 50), 100.0)
    library = torch.full((400,), 10_000.0)  # half of it in genes that are not here
    kept, left = thinned(counts, library, Range(0.4, 0.6, 0.75), noise())
    share = kept.mean(1) / 100
    whole = share == 1
    assert float(whole.float().mean()) == pytest.approx(0.25, abs=0.08)
    assert float(share[~whole].min()) > 0.36 and float(share[~whole].max()) < 0.64
    assert float(share[~whole].std()) > 0.04  # a value for each cell
    assert left.numpy() == pytest.approx((library * share).numpy(), rel=1e-5)
    assert torch.equal(kept, kept.round())

    x = torch.full((400, 50), 3.0)
    change = noisy(x, Range(0.5, 1.5, 0.5), noise(1)) - x
    deviation = change.std(1)
    assert float((deviation == 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(deviation[deviation > 0].mean()) == pytest.approx(1.0, abs=0.1)
    assert float(deviation[deviation > 0].std()) > 0.2

    rest = dropped(x, Range(0.2, 0.8, 0.5), noise(2))
    gone = (rest == 0).float().mean(1)
    assert set(rest.unique().tolist()) == {0.0, 3.0}
    assert float((gone == 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(gone[gone > 0].mean()) == pytest.approx(0.5, abs=0.06) and float(gone[gone > 0].std()) > 0.1


def test_a_value_for_each_entry_leaves_all_cells_alike() -> None:
    counts, library = torch.full((400, 50), 100.0), torch.full((400,), 5000.0)
    shares = {entry: thinned(counts, library, Range(0.2, 0.8, 1.0, entry), noise())[0] / 100 for entry in (False, True)}
    assert float(shares[True].mean(1).std()) < 0.05 < 0.1 < float(shares[False].mean(1).std())
    assert float(shares[True].std(1).mean()) > 0.15 > 0.1 > float(shares[False].std(1).mean())


def test_what_never_applies_changes_nothing() -> None:
    x, library = torch.ones(400, 3), torch.ones(400)
    never = Range(0.5, 0.5, 0.0)
    assert thinned(x, library, never, noise())[0] is x
    assert noisy(x, never, noise()) is x and dropped(x, never, noise()) is x
    empty, left = thinned(torch.zeros(400, 3), library, Range(0.5, 0.5, 1.0), noise())
    assert (empty == 0).all() and torch.equal(left, library)  # a cell without counts of these genes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"binomial": (0.9, 0.2)}, "the lower bound comes first, found 0.9 and 0.2"),
        ({"dropped": (0.1, 1.5)}, "less than or equal to 1"),
        ({"gaussian": (-0.1, 1.5)}, "greater than or equal to 0"),
        (
            {"binomial_probability": 0, "gaussian": (0, 0), "dropped_probability": 0},
            "no augmentation can change a cell: at least one of binomial, gaussian and dropped",
        ),
    ],
)
def test_settings_that_make_no_views_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ContrastiveSettings(**changed)


# --- the model --------------------------------------------------------------------------------------------------------


def case(path: Path, **settings: Any) -> tuple[Contrastive, Batches]:
    torch.manual_seed(0)
    small = {"hidden_dims": (32,), "latent_dim": 8, "device": "cpu"} | settings
    model = Contrastive(ContrastiveSettings(**small), describe(path, {}))
    batches = Batches(read_inputs(path, model.data), model.wants() | {"scaled", "lognorm"}, CPU)
    model.initialise(batches)
    return model.eval(), batches


@pytest.mark.parametrize("kind", ["scaled", "lognorm"])
def test_cells_are_embedded_from_what_other_models_read(tiny_counts: Callable[..., Path], kind: str) -> None:
    model, batches = case(tiny_counts(), input=kind, embedding="raw")
    (batch,) = batches.of([np.arange(20)])
    with torch.no_grad():
        expected = model.encoder(getattr(batch, kind))
        assert model.embed_cells(batch).numpy() == pytest.approx(expected.numpy(), abs=1e-4)
        model.settings = model.settings.model_copy(update={"embedding": "normalised"})
        z = model.embed_cells(batch)
    assert z.numpy() == pytest.approx(F.normalize(expected, dim=1).numpy(), abs=1e-4)
    assert z.norm(dim=1).numpy() == pytest.approx(np.ones(20), abs=1e-5)
    assert model.reconstruct(batch) is None and model.embed_genes() is None


@pytest.mark.parametrize("kind", ["scaled", "lognorm"])
def test_genes_off_a_cells_panel_say_nothing(tiny_counts: Callable[..., Path], kind: str) -> None:
    """Neither their counts nor what an augmentation makes of them reach the encoder; the mean stands there."""
    model, batches = case(tiny_counts(), input=kind)
    (batch,) = batches.of([np.arange(20)])
    batch.measured = torch.rand(20, 60, generator=torch.Generator().manual_seed(0)) > 0.3
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.embed_cells(batch)
        batch.noise = Noise(0, 0, 0, 20)
        model.loss(batch, PROGRESS)
    mean = model.gene_mean if kind == "lognorm" else torch.zeros(60)
    for x, measured in ((seen[0], batch.measured), (seen[1], batch.measured.repeat(2, 1))):
        assert torch.equal(x[~measured], mean.expand(len(x), -1)[~measured])
        assert not torch.equal(x[measured], mean.expand(len(x), -1)[measured])


def test_validation_sees_the_same_views_whatever_the_step(tiny_counts: Callable[..., Path]) -> None:
    model, batches = case(tiny_counts())
    (batch,) = batches.of([np.arange(30)])
    with torch.no_grad():
        fixed = [float(model.loss(batch, Progress(e, 9, validation=True, step=e))["loss"]) for e in (0, 5)]
        batch.noise = Noise(0, 0, 0, 30)
        drawn = float(model.loss(batch, PROGRESS)["loss"])
        batch.noise = None
        plain = nt_xent(*[model.embed_cells(batch)] * 2, model.settings.temperature).loss.mean()
    assert fixed[0] == fixed[1] != drawn
    assert fixed[0] > 1.05 * float(plain)  # the views do differ
    assert model.loss_needs_whole_batch


@pytest.mark.parametrize("setting", ["temperature", "binomial", "gaussian", "dropped", "augmentation_of", "batch_norm"])
def test_every_setting_changes_the_loss(tiny_counts: Callable[..., Path], setting: str) -> None:
    other: dict[str, Any] = {
        "temperature": 0.7, "binomial": (0.1, 0.2), "gaussian": (2.0, 3.0), "dropped": (0.8, 0.9),
        "augmentation_of": "entry", "batch_norm": False,
    }  # fmt: skip
    losses = []
    for changed in ({}, {setting: other[setting]}):
        model, batches = case(tiny_counts(), **changed)
        (batch,) = batches.of([np.arange(30)])
        batch.noise = Noise(0, 0, 0, 30)
        losses.append(float(model.train().loss(batch, PROGRESS)["loss"].detach()))
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def accuracy(z: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    linear_model = pytest.importorskip("sklearn.linear_model")
    probe = linear_model.LogisticRegression(max_iter=1000).fit(z[train], labels[train])
    return float(probe.score(z[test], labels[test]))


def test_it_learns_what_tells_cells_apart(tiny_counts: Callable[..., Path]) -> None:
    """Unlabelled training makes the classes linearly separable in few dimensions, better than its random start."""
    model, batches = case(tiny_counts(n_cells=600, scale=0.4), latent_dim=4, max_epochs=15, learning_rate=3e-3)
    from sclamp.train.loop import Training

    def embedded() -> np.ndarray:
        with torch.no_grad():
            return torch.cat([model.embed_cells(batch) for batch in batches.batches(None)]).numpy()

    inputs = batches.inputs
    split = inputs.rows("train"), inputs.rows("test")
    before = accuracy(embedded(), inputs.label, *split)
    history = Training(model, batches, model.settings, seed=0).run()
    after = accuracy(embedded(), inputs.label, *split)
    assert history[-1]["val_loss"] < 0.8 * history[0]["val_loss"]
    assert after > 0.9 and after > before + 0.05, (before, after)


def test_gene_names_not_positions_decide_the_views(tiny_counts: Callable[..., Path]) -> None:
    order = np.random.default_rng(1).permutation(60)
    plain, batches = case(tiny_counts())
    moved, moved_batches = case(tiny_counts(order=order, name="moved.h5ad"))
    moved.encoder.load_state_dict(plain.encoder.state_dict())
    moved.encoder.linear[0].weight.data = plain.encoder.linear[0].weight.data[:, order]
    with torch.no_grad():
        losses = [
            float(m.loss(next(iter(b.of([np.arange(30)]))), Progress(0, 1, validation=True))["loss"])
            for m, b in ((plain, batches), (moved, moved_batches))
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_batches_without_counts_are_a_mistake(tiny_counts: Callable[..., Path]) -> None:
    model, _ = case(tiny_counts())
    batch = Batch(torch.arange(2), torch.zeros(2, 2), torch.zeros(2), torch.ones(2))
    with pytest.raises(AssertionError, match="the batch holds what `wants` names"):
        model.embed_cells(batch)
