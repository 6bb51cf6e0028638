"""One run: read, build the model, fit it, write model.pt and history.parquet."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from sclamp.config.base import ModelSettings
from sclamp.config.registry import model_class
from sclamp.core.errors import UserError
from sclamp.core.files import write_table
from sclamp.core.progress import doing
from sclamp.core.provenance import provenance
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_cell_embedding, read_gene_priors, read_inputs
from sclamp.models.base import ClosedFormModel, GradientModel, Model
from sclamp.models.noise import seed_default_generator
from sclamp.train.alone import alone
from sclamp.train.checkpoint import read_content, save_model, start_from
from sclamp.train.computed import computed_on
from sclamp.train.devices import lease_gpu, torch_device
from sclamp.train.distributed import Processes, processes
from sclamp.train.finished import bring_back, keep, on_cluster
from sclamp.train.loop import NotFinite, Training
from sclamp.train.memory import parts_to_begin_with
from sclamp.train.resume import Resume
from sclamp.train.shortage import shortage_in_words
from sclamp.train.tensorboard import EventLog, wanted


@dataclass(frozen=True)
class Run:
    """What train_model.py was asked for.

    gene_priors: name -> matched prior. code: digest of the code. embedding: by another model, to be read instead of
    expression.
    """

    settings: ModelSettings
    seed: int
    counts: Path
    model: Path
    history: Path
    gene_priors: Mapping[str, Path] = field(default_factory=dict)
    warm_start: Path | None = None
    code: str = ""
    embedding: Path | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """Files that are read, by their role."""
        more = {"warm start": self.warm_start, "embedding": self.embedding}
        priors = {f"gene prior {n}": p for n, p in self.gene_priors.items()}
        return {"counts": self.counts, **priors, **{role: path for role, path in more.items() if path}}

    @property
    def outputs(self) -> tuple[Path, Path]:
        """Files that are written."""
        return self.model, self.history


def train(run: Run) -> None:
    """Fit and write. Errors are `UserError`s; a killed training goes on from resume.pt beside the model.

    Where another process trains the same model, its result is waited for, and taken if it is the one asked for.
    """
    missing = [f"{role}: {path}: no such file." for role, path in run.inputs.items() if not path.is_file()]
    if missing:
        raise UserError(*missing)
    wanted = getattr(run.settings, "device", "cpu")
    with ExitStack() as stack:
        lease = lease_gpu(wanted)
        stack.callback(lease.release)
        device = torch_device(wanted, lease, getattr(run.settings, "cpu_fallback", False))
        stack.enter_context(shortage_in_words())
        group = stack.enter_context(processes(device.type))
        if not group.writes:  # one voice is enough; errors are raised, not printed
            stack.enter_context(redirect_stderr(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        origin = _origin(run, device, group)
        waited = stack.enter_context(alone(run.model)) if group.writes else False
        if group.largest(int(waited and _made(run, origin))):
            print(f"the other process has made {run.model}, as asked for here", file=sys.stderr)
            return
        if group.largest(int(group.writes and on_cluster() and _brought_back(run, origin))):
            print(f"an earlier job has made {run.model}, as asked for here", file=sys.stderr)
            return
        model, batches = _build(run, device)
        if isinstance(model, ClosedFormModel):
            history = _solve(model, batches) if group.writes else []
        else:
            assert isinstance(model, GradientModel), "a model is one or the other"
            history = _train(run, model, batches, group, origin)
        if group.writes:
            write_table(run.history, _columns(history), origin)
            save_model(run.model, model, batches.statistics, origin)
            for leftover in (_resume_file(run), _rescued(run)):
                leftover.unlink(missing_ok=True)
            if on_cluster():
                keep(run.outputs)


def _made(run: Run, origin: Mapping[str, Any]) -> bool:
    """Whether the files to be written exist and come from the same settings, inputs and code."""
    if not (run.model.is_file() and run.history.is_file()):
        return False
    return json.loads(read_content(run.model)["provenance"]) == json.loads(json.dumps(origin))


def _brought_back(run: Run, origin: Mapping[str, Any]) -> bool:
    """Take what an earlier job has made, where it is what is asked for."""
    if run.model.is_file() or not bring_back(run.outputs):
        return False
    if not _made(run, origin):
        for file in run.outputs:
            file.unlink()
        return False
    return True


def _build(run: Run, device: torch.device) -> tuple[Model, Batches]:
    priors = read_gene_priors(run.gene_priors)
    data = describe(run.counts, priors)
    inputs = read_inputs(run.counts, data)
    if _reads_embedding(run):
        inputs = replace(inputs, embedding=read_cell_embedding(run.embedding, inputs.cell_ids))  # type: ignore[arg-type]
        data = replace(data, embedding_width=inputs.embedding.shape[1])  # type: ignore[union-attr]
    seed_default_generator("cpu", "initialise", run.seed)
    try:
        model: Model = model_class(run.settings.mode)(run.settings, data)
    except ValueError as error:
        raise UserError(str(error)) from error
    positions = {name: {gene: i for i, gene in enumerate(ids)} for name, (ids, _) in priors.items()}
    model.load_gene_priors(
        {
            name: torch.from_numpy(matrix[[positions[name][gene] for gene in data.gene_ids]])
            for name, (_, matrix) in priors.items()
        }
    )
    if inputs.embedding is not None:
        model.scale_embedding(torch.from_numpy(inputs.embedding[inputs.rows("train")]))
    if run.warm_start:
        taken = start_from(model, run.warm_start)
        print(f"warm start: {len(taken)} tensors taken from {run.warm_start}", file=sys.stderr)
    try:
        model.see_labels(*(torch.from_numpy(inputs.label[inputs.rows(split)]) for split in ("train", "val")))
    except ValueError as error:
        raise UserError(str(error)) from error
    print(*model.remarks(), sep="", end="", file=sys.stderr)
    n_parameters = sum(p.numel() for p in model.parameters())
    sizes = f"{data.n_cells} training cells, {data.n_genes} genes, {n_parameters:,} parameters"
    print(f"model: {run.settings.mode} on {device}; {sizes}", file=sys.stderr)
    return model.to(device), Batches(inputs, model.wants(), device)


def _reads_embedding(run: Run) -> bool:
    """Whether the run reads an embedding; the setting and the file go together."""
    of = getattr(run.settings, "embedding_of", None)
    if of and run.embedding is None:
        raise UserError(f"embedding_of: the model reads the embedding by '{of}'; give it with --embedding.")
    if run.embedding and not of:
        raise UserError(
            f"--embedding: {run.embedding} was given, but the settings of mode '{run.settings.mode}' name no model in "
            "embedding_of."
        )
    return bool(of)


def _solve(model: ClosedFormModel, batches: Batches) -> list[dict[str, Any]]:
    if not len(batches.inputs.rows("train")):
        raise UserError("split: there are no training cells ('train'); nothing can be learned.")
    try:
        with doing("fitting"):
            model.fit(batches)
    except ValueError as error:
        raise UserError(str(error)) from error
    summary = model.summary()
    print("fitted: " + ", ".join(f"{name} {value:.4g}" for name, value in summary.items()), file=sys.stderr)
    return [{"epoch": 0, **summary}]


def _train(
    run: Run, model: GradientModel, batches: Batches, group: Processes, origin: Mapping[str, Any]
) -> list[dict[str, Any]]:
    # Free memory decides, and is another one on each node; the order of cells must be the same.
    batches.placement = replace(batches.placement, block_rows=group.largest(batches.placement.block_rows or 0) or None)
    order = "rows" if batches.placement.block_rows is None else f"blocks of {batches.placement.block_rows} rows"
    resume = Resume(_resume_file(run), {**origin, "order of cells": order})
    events = EventLog(run.model.with_name("tensorboard")) if group.writes and wanted() else None
    training = Training(model, batches, run.settings, run.seed, resume, group, events)  # type: ignore[arg-type]
    training.standing.parts = parts_to_begin_with(training)
    if not run.warm_start:
        try:
            model.initialise(batches)
        except ValueError as error:
            raise UserError(str(error)) from error
    try:
        return training.run()
    except NotFinite as error:
        chosen = training.take_best()
        if group.writes:
            kept = _rescued(run)
            save_model(kept, model, batches.statistics, origin)
            best = f"The best model so far, of epoch {training.standing.best_epoch}, is"
            last = "No model had been chosen by validation yet; the last parameters are"
            error.problems.append(f"{best if chosen else last} kept in {kept}.")
        raise
    finally:
        if events:
            events.close()


def _origin(run: Run, device: torch.device, group: Processes) -> dict[str, Any]:
    """Provenance, which is also what a resumed training must share with the interrupted one."""
    from sclamp.digest import code_of

    settings = run.settings.model_dump(mode="json")
    code = run.code or code_of("train_model.py", run.settings.mode)
    further = {"harmony": "harmonypy", "socam": "cellxgene-ontology-guide"}.get(run.settings.mode)
    packages = ("numpy", "torch", further) if further else ("numpy", "torch")
    inputs = run.inputs.values()
    sizes = {"seed": run.seed, **computed_on(device), "processes": group.count}
    return provenance("train_model.py", settings, inputs, code, packages, **sizes)


def _resume_file(run: Run) -> Path:
    return run.model.with_name("resume.pt")


def _rescued(run: Run) -> Path:
    return run.model.with_name("best_before_failure.pt")


def _columns(history: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in history] for name in history[0]} if history else {}
