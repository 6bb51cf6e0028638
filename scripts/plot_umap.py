"""Draw the UMAP of one run by cell type, batch and split, and by the scores of each cell: X.png and X.svg.

Columns and scores that do not exist are left out.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--umap", required=True, help="umap.parquet of the run")
    arguments.add_argument("--cells", required=True, help="an .h5ad with the cells' label, batch and split")
    arguments.add_argument("--cell-scores", help="cell_scores.parquet of the run: a second row of panels")
    arguments.add_argument("--title", default="", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.plot import cell_scores, style, umap
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import read_categories, read_layout

    settings = parsed(Figures, cli.read_settings(given.settings))
    ids, at = read_layout(given.umap)
    columns, total = read_categories(given.cells, ids, ["label", "batch", "split"])
    scores = cell_scores.read_scores(given.cell_scores, ids) if given.cell_scores else {}
    figure = umap.draw(at, columns, given.title, total, scores)
    came = origin("plot_umap.py", given, given.umap, given.cells, given.cell_scores)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
