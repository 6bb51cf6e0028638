"""How far each run came, and the last words of the jobs that failed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sclamp.report.plan import Plan, Run
from sclamp.watch.logs import tail, unfinished

EMBEDDING = (("cell_embedding.parquet", "embedding"), ("neighbors.parquet", "neighbours"))
SCORES = (("scores/integration.parquet", "integration scores"),)


class RunState(NamedTuple):
    """A run and the steps of it that left no result, in their order; empty when it is complete."""

    run: Run
    missing: list[str]


class Failure(NamedTuple):
    """A job that started and did not finish. run: whose job it was, if one's; lines: the last lines of its log."""

    what: str
    run: Run | None
    log: Path
    lines: list[str]


def run_states(plan: Plan) -> list[RunState]:
    """The state of every run of the plan, controls included."""
    states = []
    for run in plan.runs(*plan.models, *plan.controls):
        on_the_way, ends = _steps(plan, run.model)
        lost = [words for name, words in (*on_the_way, *ends) if not (run.folder / name).is_file()]
        complete = all((run.folder / name).is_file() for name, _ in ends)
        states.append(RunState(run, [] if complete else lost))
    return states


def _steps(plan: Plan, model: str) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Files on the way to a run's ends, and the ends: a run that has those is complete."""
    if model in plan.controls:
        return EMBEDDING, SCORES
    fitted = (("model.pt", "training"), EMBEDDING[0])
    if plan.models[model].intermediate:
        return (), fitted[:1]
    if plan.models[model].classifier:
        judged = (("scores/classification.parquet", "scores"), ("figures/classification.png", "figure"))
        return (fitted[0], ("predictions.parquet", "prediction")), judged
    ends = [*SCORES, ("scores/reconstruction.parquet", "reconstruction scores")]
    if plan.evaluate and plan.models[model].gene_priors:
        ends.append(("scores/genes.parquet", "scores of genes"))
    if model in plan.left_out:
        ends.append(("scores/left_out_genes.parquet", "scores of left-out genes"))
    return (*fitted, EMBEDDING[1], ("umap.parquet", "UMAP")), (*ends, ("figures/umap.png", "UMAP figure"))


def missing_files(plan: Plan) -> list[str]:
    """Results of whole data sets, or for all of them, that do not exist; one sentence each."""
    wanted: dict[Path, str] = {}
    for name in plan.datasets:
        folder = plan.folder(name)
        wanted[folder / "checks.json"] = f"{name}: the check of the data"
        wanted[folder / "cells.h5ad"] = f"{name}: the prepared cells"
        for selection in plan.gene_selections:
            wanted[folder / f"genes/{selection}.parquet"] = f"{name}: the gene selection '{selection}'"
        for model in plan.models.values():
            for prior in model.gene_priors:
                path = folder / f"gene_priors/{model.selection}/{prior}.parquet"
                wanted[path] = f"{name}: the gene prior '{prior}' for the genes '{model.selection}'"
        wanted[folder / "embedded.h5ad"] = f"{name}: the AnnData with all embeddings"
    wanted[plan.results / "summary/scores.parquet"] = "the table of all scores"
    if plan.evaluate:
        wanted[plan.results / "summary/intervals.parquet"] = "the table of intervals"
        wanted[plan.results / "summary/comparisons.parquet"] = "the table of comparisons"
    return [f"{what} ({path})" for path, what in wanted.items() if not path.is_file()]


def failures(plan: Plan) -> list[Failure]:
    """Jobs that started and did not end well."""
    folders: list[tuple[Path, str, Run | None]] = [(plan.results / "logs", "", None)]
    folders += [(plan.folder(name) / "logs", name, None) for name in plan.datasets]
    folders += [
        (run.folder / "logs", f"{run.dataset}, {run.model}, seed {run.seed}", run)
        for run in plan.runs(*plan.models, *plan.controls)
    ]
    found = []
    for folder, owner, run in folders:
        for log in sorted(folder.glob("*.log")):
            if unfinished(log) and log.name != "report.log":  # the report itself is being written
                step = log.stem.replace("_", " ")
                lines = tail(log) or ["(the log is empty)"]
                found.append(Failure(f"{owner}: {step}" if owner else step, run, log, lines))
    return found
