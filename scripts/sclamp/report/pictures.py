"""Which figures the page shows, in the order of their importance: the budget is spent in this order."""

from __future__ import annotations

from typing import NamedTuple

from sclamp.core.files import read_table
from sclamp.report.images import Album, Picture
from sclamp.report.plan import Plan

Pictures = dict[str, list[tuple[str, list[Picture]]]]
"""Data set -> (model, its figures: several where a model has phases)."""


class Kind(NamedTuple):
    """Figures of runs. stem: name of the file. alt: what it shows, with places for data set and model."""

    section: str
    stem: str
    alt: str


OF_DATASETS = (
    Kind("ranking", "ranking", "Models of {d} in the order of their calibrated scores, with intervals"),
    Kind("benefit", "prior_benefit", "What gene priors add to the scores of each model on {d}, with intervals"),
)
OF_RUNS = (
    Kind("umaps", "umap", "UMAP of the cells of {d}, embedded by {m}, by cell type, batch, split and scores of cells"),
    Kind("labels", "classification", "Labels of held-out cells of {d} as predicted by {m}, and its calibration"),
    Kind("rebuilt", "reconstruction", "Measured against reconstructed and imputed expression of {d}, by {m}"),
    Kind("markers", "markers", "Genes nearest to each cell type of {d} in {m}, and their expression"),
    Kind("modules", "modules", "Modules of the genes of {d}, embedded by {m}"),
    Kind("curves", "training", "Training and validation loss of {m} on {d} over epochs"),
    Kind("maps", "genes", "Map of the genes of {d}, embedded by {m}, with the markers of each cell type"),
)


def pictures(plan: Plan) -> dict[str, object]:
    """Section -> figures: one per data set for ranking and benefit, one in all for cost, Pictures for all others."""
    album = Album()
    found: dict[str, object] = {}
    for kind in OF_DATASETS:
        paths = {d: plan.results / f"figures/{d}/{kind.stem}.png" for d in plan.datasets}
        added = {d: album.add(path, kind.alt.format(d=d)) for d, path in paths.items()}
        found[kind.section] = {d: picture for d, picture in added.items() if picture is not None}
    found["cost_figure"] = album.add(plan.results / "figures/cost.png", "Run time and peak memory of each rule")
    for kind in OF_RUNS:
        found[kind.section] = _of_runs(plan, album, kind)
    return found


def _of_runs(plan: Plan, album: Album, kind: Kind) -> Pictures:
    found: Pictures = {}
    for dataset in plan.datasets:
        shown = []
        for model in plan.classifiers if kind.section == "labels" else plan.shown:
            # phases of a chain are shown with the model that they lead to
            chain = plan.chain(model) if kind.section == "curves" else [model]
            if kind.section == "rebuilt" and not _decodes(plan, dataset, model):
                continue
            own = [_first(plan, album, dataset, name, kind) for name in chain]
            if any(own):
                shown.append((model, [picture for picture in own if picture is not None]))
        if shown:
            found[dataset] = shown
    return found


def _decodes(plan: Plan, dataset: str, model: str) -> bool:
    """Whether a run of the model has rows of reconstruction: without a decoder its figure says only that."""
    paths = [run.folder / "reconstruction.parquet" for run in plan.runs(model, dataset=dataset)]
    return any(read_table(path).num_rows for path in paths if path.is_file()) or not any(p.is_file() for p in paths)


def _first(plan: Plan, album: Album, dataset: str, model: str, kind: Kind) -> Picture | None:
    """The figure of the first seed that has one."""
    for run in plan.runs(model, dataset=dataset):
        more = f"; {len(plan.seeds) - 1} more beside it" if len(plan.seeds) > 1 else ""
        alt = kind.alt.format(d=dataset, m=model)
        picture = album.add(run.folder / f"figures/{kind.stem}.png", alt, f"{model}, seed {run.seed}{more}")
        if picture is not None:
            return picture
    return None
