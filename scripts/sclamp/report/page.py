"""The page: everything that exists is collected, put in order and rendered into one HTML file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from sclamp.plot import scoreboard
from sclamp.plot.metrics import GROUP_COLOURS, GROUP_TITLES
from sclamp.report import cost, coverage, datasets, genes, methods, notes, origins, progress, scores, tables, training
from sclamp.report.benefit import benefit
from sclamp.report.comparisons import Comparisons, signed
from sclamp.report.pictures import pictures
from sclamp.report.plan import Plan
from sclamp.report.verdict import verdict

TEMPLATES = Path(__file__).resolve().parents[3] / "workflow" / "report"
CONFIG_KEYS = ("title", "datasets", "gene_selections", "gene_priors", "models", "seeds", "evaluate", "figures")


def render(plan: Plan) -> str:
    """The whole page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    tidy: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, **tidy)
    environment.filters |= {"seconds": _seconds, "memory": _memory, "percent": _percent, "signed": signed, "p": _p}
    return environment.get_template("report.html.j2").render(**collect(plan))


def collect(plan: Plan) -> dict[str, Any]:
    """What the template shows, section by section."""
    cards = [datasets.card(plan, name) for name in plan.datasets]
    found = scores.read_scores(plan)
    states, failed, covered = progress.run_states(plan), progress.failures(plan), coverage.coverage(plan)
    came = origins.origins(plan, [card.provenance for card in cards])
    scored = _scored(plan, found)
    return {
        "plan": plan,
        "asked": notes.asked(plan),
        "cards": cards,
        "scopes": scoreboard.SCOPES,
        "group_titles": GROUP_TITLES,
        "group_colours": GROUP_COLOURS,
        **scored,
        "tiles": notes.tiles(plan, states, scored["verdicts"]),
        "notes": notes.notes(cards, scored["verdicts"], covered, states, failed, scores.failed(found.table)),
        "unfinished": notes.unfinished(states),
        "failures": failed,
        "missing": progress.missing_files(plan),
        "coverage": covered,
        "trainings": training.trainings(plan),
        "modules_of_genes": genes.modules(plan),
        "origins": came,
        "config": _config(plan),
        **_costs(plan),
        **_methods(plan, cards, found, came),
        **pictures(plan),
    }


def _scored(plan: Plan, found: scores.Scores) -> dict[str, Any]:
    """Tables, remarks, verdicts and the benefit of gene priors, of each data set that has a score."""
    is_label = found.table["task"] == scoreboard.LABELS
    names = [name for name in plan.datasets if name in set(found.table.loc[~is_label, "dataset"])]
    models = [*plan.scored, *plan.controls]
    boards = {name: scoreboard.boards(found.table, name, plan.pca, models, found.intervals) for name in names}
    verdicts, benefits = [], []
    for name, own in boards.items():
        first = own[0]  # held-out cells where there are any
        tests = Comparisons(found.comparisons, name, first.scope)
        verdicts.append(verdict(scoreboard.without_extras(first), tests))
        benefits.append(benefit(plan, first, tests))
    drawn = {name: [tables.tables(board) for board in own] for name, own in boards.items()}
    for name in plan.datasets if plan.classifiers else ():
        if name in set(found.table.loc[is_label, "dataset"]):
            own = scoreboard.boards(found.table, name, None, plan.classifiers, found.intervals, of_labels=True)
            drawn[name] = drawn.get(name, []) + [tables.tables(board) for board in own]
    by_part = {
        part: [(name, [t[part] for t in own if part in t]) for name, own in drawn.items()] for part in tables.PARTS
    }
    columns = [column for own in boards.values() for board in own for column in board.columns]
    groups = {column.shown.group for column in columns if not column.shown.extra}
    return {
        "tables": by_part,
        "has": {part: any(own for _, own in lists) for part, lists in by_part.items()} | {"unseen": "unseen" in groups},
        "remarks": {
            name: [(b.scope, lines) for b in own if (lines := scores.remarks(b))] for name, own in boards.items()
        },
        "verdicts": verdicts,
        "benefits": [found for found in benefits if found is not None],
    }


def _methods(plan: Plan, cards: list[datasets.Card], found: scores.Scores, came: origins.Origins) -> dict[str, Any]:
    sizes = {card.name: (card.facts[0][1], card.facts[1][1]) for card in cards if card.facts}
    versions = {name: v for name, v in came.versions.items() if name != "sclamp"}
    ok = found.table[found.table["status"] == "ok"]
    computed = set(zip(ok["task"], ok["metric"], strict=True))
    tested = methods.Statistics(found.intervals is not None, found.comparisons is not None)
    paragraphs, cited = methods.methods(plan, sizes, computed, versions, tested)
    return {"paragraphs": paragraphs, "references": cited}


def _costs(plan: Plan) -> dict[str, Any]:
    jobs = cost.read_jobs(plan)
    return {"steps": cost.by_step(jobs), "fits": cost.of_training(jobs)}


def _config(plan: Plan) -> str:
    known = {key: plan.raw[key] for key in CONFIG_KEYS if key in plan.raw}
    rest = {key: value for key, value in plan.raw.items() if key not in known}
    return yaml.safe_dump({**known, **rest}, sort_keys=False, allow_unicode=True, width=110)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


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
