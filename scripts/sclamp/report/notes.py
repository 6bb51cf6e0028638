"""The first glance: tiles, what was asked in one sentence, and what a reader must know before believing the numbers."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.report.coverage import Coverage
from sclamp.report.datasets import Card
from sclamp.report.plan import Plan
from sclamp.report.progress import Failure, RunState
from sclamp.report.verdict import Verdict
from sclamp.report.words import counted, joined

FEW = 0.8
"""Share of genes below which the coverage of a gene prior needs attention."""


class Note(NamedTuple):
    """Something that needs attention. level: error or warning."""

    level: str
    text: str


def asked(plan: Plan) -> str:
    """One sentence on what was asked for."""
    words = f"Asked for: {joined(plan.shown)} on {joined(plan.datasets)}"
    words += f", each with {counted(len(plan.seeds), 'seed')}"
    if plan.controls:
        words += f"; the controls {joined(name.removeprefix('control_') for name in plan.controls)}"
    if plan.prior_controls:
        models = joined(dict.fromkeys(control.of for control in plan.prior_controls))
        kinds = joined(dict.fromkeys(control.control for control in plan.prior_controls))
        words += f"; and, to tell what gene priors add, {models} with priors replaced by controls ({kinds})"
    return f"{words}."


def tiles(plan: Plan, states: list[RunState], verdicts: list[Verdict]) -> list[tuple[str, str, str]]:
    """(number, what, more)."""
    done = sum(not state.missing for state in states)
    more = ", ".join((
        counted(len(plan.gene_priors), "gene prior"), counted(len(plan.controls), "control"),
        counted(len(plan.seeds), "seed"),
    ))  # fmt: skip
    found = [
        (str(len(plan.datasets)), "data set" + "s" * (len(plan.datasets) != 1), ", ".join(plan.datasets)),
        (str(len(plan.shown)), "model" + "s" * (len(plan.shown) != 1), more),
        (f"{done} of {len(states)}", "runs complete", "every model, phase and control, with every seed"),
    ]
    first = next((v for v in verdicts if v.leaders and v.winner), None)
    if first is not None:
        leader, where = first.leaders[0], f"{first.dataset}, {first.scope}"
        found.append((leader.value.split(" ")[0], f"best {leader.score}: {_winners(first.winner)}", where))
    return found


def _winners(names: tuple[str, ...]) -> str:
    best, *rest = names
    return f"{best}, within noise of {joined(rest) if len(rest) < 3 else f'{len(rest)} others'}" if rest else best


def unfinished(states: list[RunState]) -> list[tuple[str, str, str, str]]:
    """Runs that are not complete, seeds with the same fate together: (data set, model, seeds, what is missing)."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for state in states:
        if state.missing:
            key = (state.run.dataset, state.run.model, ", ".join(state.missing))
            found.setdefault(key, []).append(str(state.run.seed))
    return [(dataset, model, ", ".join(seeds), what) for (dataset, model, what), seeds in found.items()]


def notes(
    cards: list[Card],
    verdicts: list[Verdict],
    covered: list[Coverage],
    states: list[RunState],
    failed: list[Failure],
    failed_scores: list[str],
) -> list[Note]:
    """Failed jobs, lost runs, warnings of the checks, rankings that do not hold, priors that know few genes."""
    found = [Note("error", f"{failure.what}: the job did not finish.") for failure in failed]
    failed_runs = {failure.run for failure in failed}
    waiting = [s for s in states if s.missing and s.run not in failed_runs]
    lost: dict[tuple[str, str], list[str]] = {}
    for state in waiting:
        lost.setdefault((state.run.dataset, state.missing[0]), []).append(state.run.model)
    for (dataset, what), models in lost.items():
        names = ", ".join(dict.fromkeys(models))
        found.append(Note("error", f"{dataset}: {counted(len(models), 'run')} without {what} ({names})."))
    found += [Note("error", text) for text in failed_scores]
    for card in cards:
        found += [Note(f.level, f"{card.name}: {f.message}") for f in card.findings if f.level in {"error", "warning"}]
    for v in verdicts:
        warn = [text for text in v.remarks if text.startswith(("Ranked", "The control", "No model"))]
        found += [Note("warning", f"{v.dataset}, {v.scope}: {text}") for text in warn]
    for c in covered:
        if c.share_of_genes < FEW:
            share = f"{c.share_of_genes:.0%} of the genes '{c.selection}'"
            found.append(Note("warning", f"{c.dataset}: the gene prior '{c.prior}' covers only {share}."))
    return found
