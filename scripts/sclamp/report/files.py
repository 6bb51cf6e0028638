"""Which files the report is made from, for its provenance."""

from __future__ import annotations

from pathlib import Path

from sclamp.report.plan import Plan

SUMMARY = ("scores", "intervals", "comparisons")
OF_DATASET = ("checks.json", "genes/*.parquet", "gene_priors/*/*.json")
OF_RUN = ("history.parquet", "gene_modules.parquet", "module_terms.parquet", "figures/*.png")


def files_read(plan: Plan) -> list[Path]:
    """The tables and figures of a plan that exist, sorted.

    Without logs and benchmarks, of which no two runs are equal, and without what is drawn from them.
    """
    found = {plan.results / f"summary/{name}.parquet" for name in SUMMARY}
    for name in plan.datasets:
        found |= {path for pattern in OF_DATASET for path in plan.folder(name).glob(pattern)}
        found |= set((plan.results / "figures" / name).glob("*.png"))
    for run in plan.runs(*plan.models, *plan.controls):
        found |= {path for pattern in OF_RUN for path in run.folder.glob(pattern)}
    return sorted(path for path in found if path.is_file())
