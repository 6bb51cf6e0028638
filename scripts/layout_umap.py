"""Lay cells out in two dimensions from the neighbours that the scores use too (UMAP's method, without umap-learn).

Of more cells than figures.max_cells, a seeded random sample is drawn and laid out; the table holds those alone.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, lay out, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--neighbors", required=True, help="neighbors.parquet of the run")
    arguments.add_argument("--output", required=True, help="umap.parquet: cell_id, umap_1, umap_2")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import write_table
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.layout import lay_out
    from sclamp.evaluate.read import read_neighbors

    settings = parsed(Figures, cli.read_settings(given.settings))
    ids, neighbors = read_neighbors(given.neighbors)
    drawn, places = lay_out(neighbors, settings.max_cells)
    columns = {"cell_id": ids[drawn].tolist(), "umap_1": places[:, 0], "umap_2": places[:, 1]}
    origin = provenance(
        "layout_umap.py", {"max_cells": settings.max_cells}, [given.neighbors], given.code, ["numpy", "scipy"]
    )
    write_table(given.output, columns, origin)


if __name__ == "__main__":
    cli.run(main)
