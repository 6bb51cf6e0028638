"""All scores of a gene embedding, and the tables behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from sclamp.config.evaluate import Evaluate
from sclamp.core.errors import UserError, did_you_mean, unknown
from sclamp.core.files import read_table
from sclamp.data.h5ad import Cells
from sclamp.evaluate.coexpression import CoExpression, score_coexpression
from sclamp.evaluate.gene_modules import Modules, score_modules, significant
from sclamp.evaluate.gene_vectors import GeneVectors
from sclamp.evaluate.marker_scores import Markers, score_markers
from sclamp.evaluate.measure import NotApplicable, Unscorable
from sclamp.evaluate.read import HELD_OUT
from sclamp.evaluate.rows import Row

MARKERS = pa.schema(
    {
        "cell_type": pa.string(),
        "gene_id": pa.string(),
        "rank": pa.int32(),
        "proximity": pa.float64(),
        "difference": pa.float64(),
        "difference_rank": pa.int32(),
    }
)
MODULES = pa.schema([("gene_id", pa.string()), ("module", pa.int32())])
MODULE_TERMS = pa.schema(
    {"module": pa.int32(), "term": pa.string()}
    | dict.fromkeys(("n_module", "n_term", "overlap"), pa.int32())
    | dict.fromkeys(("odds_ratio", "p", "p_adjusted"), pa.float64())
)


class GeneScores(NamedTuple):
    """rows: the score table. markers, modules, module_terms: tables of the schemas above, empty where there is none."""

    rows: list[Row]
    markers: pa.Table
    modules: pa.Table
    module_terms: pa.Table


def score_genes(
    genes: GeneVectors,
    embedding: np.ndarray,
    counts: str | Path,
    cells: Cells,
    given: pd.DataFrame | None,
    terms: pd.DataFrame | None,
    settings: Evaluate,
) -> GeneScores:
    """Score markers, modules and co-expression of a gene embedding.

    embedding (n, k): latents of the n cells of `counts`; cells: what `read_cells` read from there. given: columns
    cell_type, gene_id. terms: columns term, gene_id.
    """
    if strange := sorted(set(genes.ids) - set(cells.var.index)):
        raise UserError(
            f"{counts}: {len(strange)} of the {len(genes)} embedded genes are missing, the first is '{strange[0]}'"
            + did_you_mean(strange[0], cells.var.index)
        )
    split = cells.obs["split"].astype(str).to_numpy() if "split" in cells.obs else np.full(len(cells.obs), "train")
    held_out = np.isin(split, HELD_OUT)
    markers = Markers(genes, embedding, counts, cells, split == "train", held_out, given, settings.seed)
    modules = Modules(genes, terms, settings)
    pairs = CoExpression(genes, counts, cells, held_out, settings.seed)
    rows = score_markers(markers) + score_modules(modules) + score_coexpression(pairs)
    return GeneScores(
        rows,
        _table(markers.table, MARKERS),
        _table(lambda: pd.DataFrame({"gene_id": genes.ids, "module": modules.modules}), MODULES),
        _table(lambda: significant(modules.tests), MODULE_TERMS),
    )


def _table(make: Callable[[], pd.DataFrame], schema: pa.Schema) -> pa.Table:
    """What `make` returns, or no rows where the scores say why there is nothing."""
    try:
        frame = make()
    except (NotApplicable, Unscorable):
        return schema.empty_table()
    return pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata(None)


def read_symbols(path: str | Path) -> pd.Series:
    """Gene id -> symbol of a gene table; the id where there is no symbol."""
    table = read_table(path)
    if missing := [name for name in ("gene_id", "symbol") if name not in table.column_names]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.column_names) for name in missing))
    frame = table.select(["gene_id", "symbol"]).to_pandas()
    return pd.Series(frame["symbol"].fillna(frame["gene_id"]).to_numpy(object), frame["gene_id"].to_numpy(object))
