"""Draw the genes nearest to each cell type in a model, and how held-out cells express them: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, average, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--gene-markers", required=True, help="gene_markers.parquet of the run")
    arguments.add_argument("--counts", required=True, help="packed counts of the model's genes (.h5ad)")
    arguments.add_argument("--genes", required=True, help="table of the gene selection, for symbols (.parquet)")
    arguments.add_argument("--title", default="", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import read_table
    from sclamp.plot import heatmap, style
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import read_symbols, require

    settings = parsed(Figures, cli.read_settings(given.settings))
    table = read_table(given.gene_markers)
    require(given.gene_markers, table.column_names, ["cell_type", "gene_id", "rank", "difference_rank"])
    best = heatmap.top_genes(table.to_pandas())
    symbols = read_symbols(given.genes)
    means = heatmap.mean_expression(given.counts, best["gene_id"].tolist()) if len(best) else None
    if means is not None and means.types:
        figure = heatmap.draw(best, means, symbols, given.title)
    else:
        why = (
            "No gene was compared with a cell type: the model has no gene embedding in the space of its cells, or the "
            "data has no cell types."
        )
        figure = style.nothing(given.title or "Marker genes", why)
    came = origin("plot_markers.py", given, given.gene_markers, given.counts, given.genes)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
