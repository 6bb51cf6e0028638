"""Genes that a model never saw, predicted on test cells through their gene priors alone, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sclamp.core.errors import UserError, unknown
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.inputs import Inputs, read_inputs
from sclamp.data.stream import cut
from sclamp.models.base import Model
from sclamp.train.agreement import spaced
from sclamp.train.checkpoint import Loaded
from sclamp.train.embed import with_statistics
from sclamp.train.reconstruction import held_out_rows
from sclamp.train.scale import comparable, compared_on, measured, space
from sclamp.types import Batch

Priors = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Name -> gene ids (n,) and vectors (n, width), as they come from files."""

TUNING_ENTRIES = 2_000_000
"""Cells x genes on which a baseline is tuned."""


class LeftOut(NamedTuple):
    """Cells with the genes that a model knows and genes that it does not, on the scale of `scale.compared_on`.

    known (cells, model's genes), truth (cells, new genes): as measured. predicted (cells, new genes): None from a model
    that cannot. mean (new genes,): of the training cells. expressed (new genes,): share of the cells with a count.
    tuning (other cells, model's genes): like known, for a baseline to be tuned on. Truth is NaN where a cell was not
    measured for a gene.
    """

    known: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray | None
    mean: np.ndarray
    expressed: np.ndarray
    tuning: np.ndarray


def unseen_genes(model: Model, priors: Priors, counts_genes: np.ndarray) -> np.ndarray:
    """Genes of the file with a vector in every prior that the model was not trained on, in the file's order.

    Errors: other names or widths than the model's gene priors; vectors of its own genes other than those it read.
    """
    needed, problems = model.data.gene_priors, []
    problems += [f"--gene-prior: '{name}' is missing; the model reads it." for name in needed if name not in priors]
    problems += ["--gene-prior: " + unknown("gene prior", name, needed) for name in priors if name not in needed]
    if not problems:
        problems = [problem for name in needed if (problem := _other_prior(model, name, *priors[name]))]
    if problems:
        raise UserError(*problems)
    new = set(counts_genes).intersection(*(ids for ids, _ in priors.values())) - set(model.data.gene_ids)
    return np.array([gene for gene in counts_genes if gene in new], dtype=object)


def _other_prior(model: Model, name: str, ids: np.ndarray, vectors: np.ndarray) -> str:
    """What tells this prior from the one that the model was trained with; empty when nothing does."""
    width = model.data.gene_priors[name]
    if vectors.shape[1] != width:
        return f"--gene-prior: '{name}' has vectors of {vectors.shape[1]} values, the model read {width}."
    where = {gene: row for row, gene in enumerate(ids)}
    if missing := [gene for gene in model.data.gene_ids if gene not in where]:
        return f"--gene-prior: '{name}' lacks {len(missing)} of the model's genes, such as '{missing[0]}'."
    own = model.scale_gene_prior(name, _vectors(ids, vectors, model.data.gene_ids))
    differs = ~torch.isclose(own, model.gene_prior(name), rtol=1e-3, atol=1e-4).all(1)
    if differs.any():
        gene = model.data.gene_ids[int(differs.nonzero()[0, 0])]
        return f"--gene-prior: the vector of '{gene}' in '{name}' is not the one that the model was trained with."
    return ""


def prior_vectors(model: Model, priors: Priors, genes: Sequence[str]) -> np.ndarray:
    """Vectors (genes, all widths together) of any genes in all priors, scaled as the model reads them."""
    parts = [model.scale_gene_prior(name, _vectors(*priors[name], genes)) for name in model.data.gene_priors]
    return torch.cat(parts, 1).numpy()


def predict_left_out(loaded: Loaded, path: Path, priors: Priors, genes: Sequence[str], device: torch.device) -> LeftOut:
    """Predict genes on the test cells (without any, on the validation cells).

    The model sees nothing of the genes but their vectors, and their share in the cell's library size, which counts all
    that was measured in a cell, selected or not. Truth is scaled by the genes' mean and standard deviation in the
    training cells. Cells for tuning are those of the validation split, or training cells where these are judged.
    """
    model = loaded.model
    vectors = {name: _vectors(*priors[name], genes).to(device) for name in model.data.gene_priors}
    model = model.to(device)
    inputs = with_statistics(read_inputs(path, model.data), loaded)
    new_inputs = read_inputs(path, replace(model.data, gene_ids=tuple(genes)))
    known, new = (Batches(each, model.wants() | {"counts"}, device) for each in (inputs, new_inputs))
    rows = held_out_rows(inputs, inputs.n_genes + len(genes))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("known", "truth", "predicted", "counted")}
    plan, recipe = cut(rows, EVALUATION_ROWS), inputs.recipe
    with torch.no_grad():
        for batch, of_new in zip(known.of(plan), new.of(plan), strict=True):
            found = model.predict_genes(batch, vectors)
            if found is not None:
                found = comparable(model, found, batch.library_size, new.statistics, recipe)
            _keep(parts["known"], measured(model, batch, known.statistics, recipe))
            _keep(parts["truth"], _unknown_off_panel(measured(model, of_new, new.statistics, recipe), of_new))
            _keep(parts["predicted"], found)
            _keep(parts["counted"], None if of_new.counts is None else of_new.counts > 0)
    counted, truth = _stacked(parts["counted"], len(genes)), _stacked(parts["truth"], len(genes))
    return LeftOut(
        known=_stacked(parts["known"], inputs.n_genes),
        truth=truth,
        predicted=_about_mean(model, _stacked(parts["predicted"], len(genes))) if parts["predicted"] else None,
        mean=np.zeros(len(genes), np.float32) if compared_on(model) == "scaled" else new_inputs.mean,
        expressed=counted.sum(0) / np.maximum((~np.isnan(truth)).sum(0), 1),
        tuning=_tuning(model, known, inputs, rows),
    )


def _about_mean(model: Model, predicted: np.ndarray) -> np.ndarray:
    """Predictions (cells, new genes) as differences from what each gene has on average, which is what z-scores are.

    Models of z-scores know nothing else of a new gene; models of counts also guess its mean, which is no part of the
    truth that they are compared with.
    """
    return predicted - predicted.mean(0, keepdims=True) if space(model) == "counts" and len(predicted) else predicted


def _unknown_off_panel(truth: Tensor, batch: Batch) -> Tensor:
    return truth if batch.measured is None else truth.masked_fill(~batch.measured, torch.nan)


def _tuning(model: Model, batches: Batches, inputs: Inputs, judged: np.ndarray) -> np.ndarray:
    others = np.setdiff1d(inputs.rows("val"), judged)
    chosen = spaced(others if len(others) > 1 else inputs.rows("train"), inputs.n_genes, TUNING_ENTRIES)
    parts: list[np.ndarray] = []
    for batch in batches.of(cut(chosen, EVALUATION_ROWS)):
        _keep(parts, measured(model, batch, batches.statistics, inputs.recipe))
    return _stacked(parts, inputs.n_genes)


def _stacked(parts: list[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, width), np.float32), *parts])


def _keep(parts: list[np.ndarray], values: Tensor | None) -> None:
    if values is not None:
        parts.append(values.float().cpu().numpy())


def _vectors(ids: np.ndarray, vectors: np.ndarray, genes: Sequence[str]) -> Tensor:
    """The vectors of these genes, in their order."""
    where = {gene: row for row, gene in enumerate(ids)}
    return torch.from_numpy(vectors[[where[gene] for gene in genes]])
