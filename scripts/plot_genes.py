"""Draw the map of a gene embedding with the marker genes of each cell type: X.png and X.svg.

Markers come from the given table (columns cell_type, gene) or are found on the training cells: genes that at least a
quarter of a type's cells express, ranked by mean log-normalised expression in the type minus that in all other cells.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, read, lay out, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--embedding", required=True, help="gene_embedding.parquet of the run")
    arguments.add_argument("--counts", required=True, help="packed counts of the model's genes (.h5ad)")
    arguments.add_argument("--genes", required=True, help="table of the gene selection, for symbols (.parquet)")
    arguments.add_argument("--markers", help="table of marker genes: columns cell_type and gene")
    arguments.add_argument("--title", help="heading of the figure (default: the run's folder)")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    import pandas as pd

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.errors import UserError
    from sclamp.core.files import read_embedding, read_table
    from sclamp.plot import genes, markers, style
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import require

    settings = parsed(Figures, cli.read_settings(given.settings))
    ids, embedding = read_embedding(given.embedding, "gene_id")
    if len(ids) < 3:
        raise UserError(f"{given.embedding}: {len(ids)} genes, at least 3 are needed; does the model have a gene side?")
    table = read_table(given.genes)
    require(given.genes, table.column_names, ["gene_id", "symbol"])
    names = dict(zip(table["gene_id"].to_pylist(), table["symbol"].to_pylist(), strict=True))
    symbols = pd.Series([names.get(gene) or gene for gene in ids], index=ids)
    per_type = max(settings.marker_genes, genes.COLOURED)
    if given.markers:
        found = markers.read_markers(given.markers, symbols, per_type)
    else:
        found = markers.find_markers(given.counts, per_type)
    title = given.title or Path(given.embedding).resolve().parent.parent.name
    figure = genes.draw(
        genes.layout(embedding), symbols, found, markers.cell_types(given.counts), settings.marker_genes, title
    )
    came = origin("plot_genes.py", given, given.embedding, given.genes, given.counts, given.markers)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
