"""Training steps of ours and of the published sciLaMA code, on the same cells.

Ours is the training loop as a job runs it: rows gathered from resident integer counts, normalised and scaled on the
fly, noise, loss, gradients, fused AdamW, the check for losses that are not finite, and a validation at the end.
The reference is its own LightningModule under a Lightning Trainer, fed by its own Dataset: per-step Pearson and
Spearman correlations, logging, AdamW. In its favour: no loader processes, progress bar, checkpoints or validation, the
start of `fit` does not count, and its cells are dense and scaled beforehand.
Both train the published model: [900, 400], latent 50; the script fails if they train different numbers of parameters.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np
import pytorch_lightning as pl
import torch
from synthetic import Tissue

REPOSITORY, COMMIT = "https://github.com/microsoft/sciLaMA", "f534317"
N_GENES, BATCH, N_VALIDATION = 3000, 128, 2


class Loop(NamedTuple):
    """A training: an epoch per call of `run`."""

    run: measure.Contender
    model: torch.nn.Module

    def trained_parameters(self) -> int:
        """Number of parameters that the last step moved."""
        return sum(p.numel() for p in self.model.parameters() if p.grad is not None)


def check_same_size(ours: Loop, published: Loop) -> None:
    """Run both; a comparison of models of different sizes would mean nothing."""
    for loop in (ours, published):
        loop.run()
    sizes = ours.trained_parameters(), published.trained_parameters()
    if sizes[0] != sizes[1] or not sizes[0]:
        sys.exit(f"different models: ours trains {sizes[0]:,} parameters, the reference {sizes[1]:,}")
    print(f"  parameters trained by each: {sizes[0]:,}")


def arguments(doc: str | None) -> argparse.Namespace:
    """Parse the command line; without a reference the script ends here."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help=f"checkout of {REPOSITORY} at commit {COMMIT}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps of each contender in each round")
    options = parser.parse_args()
    if options.reference is None or not (options.reference / "src/sciLaMA/model_lit.py").is_file():
        print(
            f"{Path(sys.argv[0]).stem} not run: its anchor, the published sciLaMA code, is on no package index.\n"
            f"Get it by\n  git clone {REPOSITORY} && git -C sciLaMA checkout {COMMIT}\n"
            f"and name it by --reference sciLaMA (given: {options.reference or 'nothing'}).",
            file=sys.stderr,
        )
        sys.exit(measure.NOT_RUN)
    git = ["git", "-C", str(options.reference), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=False).stdout
    if not head.startswith(COMMIT):
        print(f"note: the reference is at {head.strip() or 'an unknown commit'}, not at {COMMIT}", file=sys.stderr)
    torch.set_num_threads(1)
    return options


# --- ours -------------------------------------------------------------------------------------------------------------


def make_inputs(n_train: int) -> Any:
    """Inputs of `n_train` training and some validation cells, counts in memory as the packed file holds them."""
    from sclamp.data.inputs import Counts, Inputs
    from sclamp.types import Recipe

    n_cells = n_train + N_VALIDATION
    block = Tissue(N_GENES, density=0.1).block(0, n_cells)
    library = np.asarray(block.sum(1)).ravel().astype(np.float32)
    dense = np.log1p(block.toarray() / library[:, None] * 1e4)
    packed = Counts(
        block.indptr.astype(np.int64), block.indices.astype(np.uint16), block.data.astype(np.uint8), N_GENES
    )
    return Inputs(
        counts=packed,
        columns=np.arange(N_GENES),
        n_genes=N_GENES,
        cell_ids=np.array([f"cell{i}" for i in range(n_cells)], dtype=object),
        split=np.array(["train"] * n_train + ["val"] * N_VALIDATION, dtype=object),
        library_size=library,
        covariates=np.empty((n_cells, 0), np.float32),
        batch=np.zeros(n_cells, np.int64),
        label=np.zeros(n_cells, np.int64),
        mean=dense.mean(0).astype(np.float32),
        std=np.maximum(dense.std(0), 1e-3).astype(np.float32),
        recipe=Recipe(),
    )


def ours(inputs: Any, prior: np.ndarray | None = None, published: bool = True, **settings: Any) -> Loop:
    """Our training. prior: (genes, width) for mode `direct`, None for `beta_vae`. published: else with our defaults."""
    from sclamp.config.registry import model_class, settings_class
    from sclamp.config.scilama import PUBLISHED, PUBLISHED_JOINT
    from sclamp.data.batches import Batches
    from sclamp.data.placement import Placement
    from sclamp.train.loop import Training
    from sclamp.types import DataSpec

    mode = "beta_vae" if prior is None else "direct"
    priors = {} if prior is None else {"text": prior.shape[1]}
    values = {} if prior is None else {"gene_priors": ["text"]}
    if published:
        values |= {"latent_dim": 50} | (PUBLISHED if prior is None else PUBLISHED_JOINT)
    values |= {"batch_size": BATCH, **settings, "max_epochs": 1, "device": "cpu", "mode": mode}
    chosen = settings_class(mode).model_validate(values)
    genes = tuple(f"gene{i}" for i in range(N_GENES))
    model = model_class(mode)(chosen, DataSpec(gene_ids=genes, gene_priors=priors, n_cells=len(inputs.rows("train"))))
    if prior is not None:
        model.load_gene_priors({"text": torch.from_numpy(prior)})
    batches = Batches(inputs, model.wants(), torch.device("cpu"), Placement(True, None, "resident"))

    def epoch() -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # what it reports about the training
            Training(model, batches, chosen, seed=0).run()
        return len(inputs.rows("train"))

    return Loop(measure.timed(epoch), model)


# --- the reference ----------------------------------------------------------------------------------------------------


class Clock(pl.Callback):
    """CPU time from the first step's start to the last one's end."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self._start = time.process_time()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.seconds = time.process_time() - self._start


def reference(checkout: Path, inputs: Any, prior: np.ndarray | None = None) -> Loop:
    """The published module, on the scaled expression of the same training cells."""
    sys.path.insert(0, str(checkout.resolve() / "src"))
    scilama = importlib.import_module("sciLaMA")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    mode = "beta_vae" if prior is None else "direct"
    config = scilama.SciLaMAConfig(data={"path": ""}, model={}, training={"mode": mode}, output={})
    embeddings = {} if prior is None else {"text": torch.from_numpy(prior)}
    n_train = len(inputs.rows("train"))
    module = scilama.SciLaMALightningModule(config, N_GENES, 0, n_train, feature_input_embeddings=embeddings)
    dataset = importlib.import_module("sciLaMA.data").RNADataset(_scaled(inputs)[:n_train], torch.zeros(n_train, 0))
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)

    def run() -> tuple[int, float]:
        clock = Clock()
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", devices=1, callbacks=[clock], enable_model_summary=False, **options
        )
        trainer.fit(module, loader)
        return n_train, clock.seconds

    return Loop(run, module)


def _scaled(inputs: Any) -> torch.Tensor:
    from sclamp.data.batches import Batches
    from sclamp.data.placement import Placement

    batches = Batches(inputs, frozenset({"scaled"}), torch.device("cpu"), Placement(True, None, "resident"))
    return torch.cat([batch.scaled for batch in batches.batches(None)])


def without_correlations(published: Loop) -> measure.Contender:
    """The reference's step without its Pearson and Spearman correlations."""

    def quick() -> tuple[int, float]:
        with _no_correlations():
            return published.run()

    return quick


@contextlib.contextmanager
def _no_correlations() -> Iterator[None]:
    module = importlib.import_module("sciLaMA.model_lit")
    names = ("pearson_reconstruction", "spearman_reconstruction")
    before = {name: getattr(module, name) for name in names}
    for name in names:
        setattr(module, name, lambda prediction, target: torch.zeros(()))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)
