"""The page: everything that exists is collected, put in order and rendered into one HTML file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sclamp.plot import scoreboard
from sclamp.plot.metrics import GROUP_TITLES
from sclamp.plot.style import GROUPS
from sclamp.report import cost, coverage, datasets, methods, origins, progress, scores, training, verdict
from sclamp.report.images import Album, Picture
from sclamp.report.plan import Plan

TEMPLATES = Path(__file__).resolve().parents[3] / "workflow" / "report"
FEW = 0.8
"""Share of genes below which the coverage of a gene prior needs attention."""
CONFIG_KEYS = ("title", "datasets", "gene_selections", "gene_priors", "models", "seeds", "evaluate", "figures")


class Note(NamedTuple):
    """Something that needs attention. level: error or warning."""

    level: str
    text: str


def render(plan: Plan) -> str:
    """The whole page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    tidy: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, **tidy)
    environment.filters |= {"number": _number, "seconds": _seconds, "memory": _memory, "percent": _percent}
    environment.tests["nan"] = lambda value: isinstance(value, float) and math.isnan(value)
    return environment.get_template("report.html.j2").render(**collect(plan))


def collect(plan: Plan) -> dict[str, Any]:
    """What the template shows, section by section."""
    cards = [datasets.card(plan, name) for name in plan.datasets]
    table = scores.read_scores(plan)
    boards = {
        name: scoreboard.boards(table, name, plan.pca, [*plan.scored, *plan.controls])
        for name in plan.datasets
        if name in set(table["dataset"])
    }
    verdicts = [verdict.verdict(scoreboard.without_extras(found[0])) for found in boards.values()]
    states = progress.run_states(plan)
    failed = progress.failures(plan)
    missing = progress.missing_files(plan)
    covered = coverage.coverage(plan)
    came = origins.origins(plan, [card.provenance for card in cards])
    jobs = cost.read_jobs(plan)
    sizes = {card.name: (card.facts[0][1], card.facts[1][1]) for card in cards if card.facts}
    versions = {name: v for name, v in came.versions.items() if name != "sclamp"}
    paragraphs, cited = methods.methods(plan, sizes, set(table["metric"]), versions)
    return {
        "plan": plan,
        "cards": cards,
        "boards": boards,
        "board_notes": {name: [scores.remarks(board) for board in found] for name, found in boards.items()},
        "bars": {name: [_bars(board) for board in found] for name, found in boards.items()},
        "scopes": scoreboard.SCOPES,
        "group_titles": GROUP_TITLES,
        "group_colours": GROUPS,
        "verdicts": verdicts,
        "tiles": _tiles(plan, states, verdicts),
        "notes": _notes(cards, verdicts, covered, states, failed),
        "states": states,
        "unfinished": [state for state in states if state.missing],
        "failures": failed,
        "missing": missing,
        "coverage": covered,
        "trainings": training.trainings(plan),
        "steps": cost.by_step(jobs),
        "fits": cost.of_training(jobs),
        "origins": came,
        "config": _config(plan),
        "paragraphs": paragraphs,
        "references": cited,
        **_pictures(plan),
    }


def _pictures(plan: Plan) -> dict[str, dict[str, list[tuple[str, list[Picture]]]]]:
    """Figures per data set and model: UMAPs first, as the budget is spent in this order."""
    album = Album()
    everything = list(plan.models)
    kinds = {
        "umaps": ("umap", "UMAP of the cells of {d}, embedded by {m}, by cell type, batch and split", plan.scored),
        "curves": ("training", "Training and validation loss of {m} on {d} over epochs", everything),
        "maps": ("genes", "Map of the genes of {d}, embedded by {m}, with the markers of each cell type", everything),
    }
    found: dict[str, dict[str, list[tuple[str, list[Picture]]]]] = {}
    for section, (stem, alt, models) in kinds.items():
        found[section] = {}
        for dataset in plan.datasets:
            shown = []
            for model in models:
                if section == "curves" and plan.models[model].intermediate:
                    continue  # shown with the model whose phase it is
                chain = plan.chain(model) if section == "curves" else [model]
                pictures = [_first(plan, album, dataset, name, stem, alt.format(d=dataset, m=name)) for name in chain]
                if any(pictures):
                    shown.append((model, [picture for picture in pictures if picture is not None]))
            if shown:
                found[section][dataset] = shown
    return found


def _first(plan: Plan, album: Album, dataset: str, model: str, stem: str, alt: str) -> Picture | None:
    """The figure of the first seed that has one."""
    for run in plan.runs(model, dataset=dataset):
        more = f"; {len(plan.seeds) - 1} more beside it" if len(plan.seeds) > 1 else ""
        picture = album.add(run.folder / f"figures/{stem}.png", alt, f"{model}, seed {run.seed}{more}")
        if picture is not None:
            return picture
    return None


def _tiles(plan: Plan, states: list[progress.RunState], verdicts: list[verdict.Verdict]) -> list[tuple[str, str, str]]:
    """The first glance: (number, what, more)."""
    done = sum(not state.missing for state in states)
    names = ", ".join(plan.datasets)
    priors = f"{len(plan.gene_priors)} gene prior{'s' * (len(plan.gene_priors) != 1)}"
    seeds = f"{len(plan.seeds)} seed{'s' * (len(plan.seeds) != 1)}"
    tiles = [
        (str(len(plan.datasets)), "data set" + "s" * (len(plan.datasets) != 1), names),
        (str(len(plan.scored)), "models", f"{priors}, {len(plan.controls)} controls, {seeds}"),
        (f"{done} of {len(states)}", "runs complete", "every model, phase and control, with every seed"),
    ]
    first = next((v for v in verdicts if v.leaders), None)
    if first is not None:
        leader, where = first.leaders[0], f"{first.dataset}, {first.scope}"
        tiles.append((leader.value.split(" ")[0], f"best {leader.score}: {leader.model}", where))
    return tiles


def _notes(
    cards: list[datasets.Card],
    verdicts: list[verdict.Verdict],
    covered: list[coverage.Coverage],
    states: list[progress.RunState],
    failed: list[progress.Failure],
) -> list[Note]:
    """What a reader must know before believing the numbers."""
    notes = [Note("error", f"{failure.what}: the job did not finish.") for failure in failed]
    failed_runs = {failure.run for failure in failed}
    waiting = [s for s in states if s.missing and s.run not in failed_runs]
    lost: dict[tuple[str, str], list[str]] = {}
    for state in waiting:
        lost.setdefault((state.run.dataset, state.missing[0]), []).append(state.run.model)
    for (dataset, what), models in lost.items():
        names = ", ".join(dict.fromkeys(models))
        notes.append(Note("error", f"{dataset}: {len(models)} run{'s' * (len(models) > 1)} without {what} ({names})."))
    for card in cards:
        notes += [Note(f.level, f"{card.name}: {f.message}") for f in card.findings if f.level in {"error", "warning"}]
    for v in verdicts:
        warn = [text for text in v.remarks if text.startswith(("Ranked", "The control", "No model"))]
        notes += [Note("warning", f"{v.dataset}, {v.scope}: {text}") for text in warn]
    for c in covered:
        if c.share_of_genes < FEW:
            share = f"{c.share_of_genes:.0%} of the genes '{c.selection}'"
            notes.append(Note("warning", f"{c.dataset}: the gene prior '{c.prior}' covers only {share}."))
    return notes


def _bars(board: scoreboard.Board) -> list[float]:
    """The value of a full bar of each column."""
    return [scoreboard.full_bar(board, i) for i in range(len(board.columns))]


def _config(plan: Plan) -> str:
    known = {key: plan.raw[key] for key in CONFIG_KEYS if key in plan.raw}
    rest = {key: value for key, value in plan.raw.items() if key not in known}
    return yaml.safe_dump({**known, **rest}, sort_keys=False, allow_unicode=True, width=110)


def _number(value: float) -> str:
    return "" if math.isnan(value) else scoreboard.number(value)


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _seconds(value: float) -> str:
    if math.isnan(value):
        return "not measured"
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _memory(megabytes: float) -> str:
    if math.isnan(megabytes):
        return "not measured"
    return f"{megabytes:,.0f} MB" if megabytes < 10_000 else f"{megabytes / 1000:,.1f} GB"
