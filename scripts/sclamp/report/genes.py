"""Gene modules: how many there are, and the annotation terms that are most enriched in each."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.core.files import read_table
from sclamp.report.plan import Plan, Run

TERMS = "module_terms.parquet"
MOST, OF_MODULE = 15, 2
"""Rows of a table, and of one module, at most."""


class Term(NamedTuple):
    """An annotation term in a gene module. overlap: genes of both."""

    module: str
    genes: int
    term: str
    overlap: int
    of: int
    odds_ratio: float
    p: float


class Modules(NamedTuple):
    """Terms of one run. modules, enriched: how many modules there are (None: not known), how many have a term."""

    dataset: str
    model: str
    seed: int
    modules: int | None
    enriched: int
    terms: list[Term]


def modules(plan: Plan) -> list[Modules]:
    """The first seed of each model whose gene modules were tested."""
    found = []
    for dataset in plan.datasets:
        for model in plan.shown:
            run = next((run for run in plan.runs(model, dataset=dataset) if (run.folder / TERMS).is_file()), None)
            if run is not None:
                found.append(_modules(run))
    return found


def _modules(run: Run) -> Modules:
    table = read_table(run.folder / TERMS).to_pandas().sort_values(["p_adjusted", "p"], kind="stable")
    top = table.groupby("module", sort=False, observed=True).head(OF_MODULE).head(MOST)
    terms = [
        Term(str(r["module"]), int(r["n_module"]), str(r["term"]), int(r["overlap"]), int(r["n_term"]),
             float(r["odds_ratio"]), float(r["p_adjusted"]))
        for r in top.to_dict("records")
    ]  # fmt: skip
    path = run.folder / "gene_modules.parquet"
    count = len(set(read_table(path)["module"].to_pylist()) - {None, -1}) if path.is_file() else None
    return Modules(run.dataset, run.model, run.seed, count, table["module"].nunique(), terms)
