"""Draw the map of a gene embedding with its modules and their annotation: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, lay out, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--embedding", required=True, help="gene_embedding.parquet of the run")
    arguments.add_argument("--modules", required=True, help="gene_modules.parquet of the run")
    arguments.add_argument("--module-terms", required=True, help="module_terms.parquet of the run")
    arguments.add_argument("--genes", required=True, help="table of the gene selection, for symbols (.parquet)")
    arguments.add_argument("--title", default="", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import read_embedding, read_table
    from sclamp.plot import genes, modules, style
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import read_symbols, require

    settings = parsed(Figures, cli.read_settings(given.settings))
    table, terms = read_table(given.modules), read_table(given.module_terms)
    require(given.modules, table.column_names, ["gene_id", "module"])
    require(given.module_terms, terms.column_names, ["module", "term", "p", "p_adjusted"])
    ids, embedding = read_embedding(given.embedding, "gene_id")
    symbols = read_symbols(given.genes)
    found = modules.modules_of(ids, embedding, table.to_pandas(), terms.to_pandas(), symbols) if len(ids) else []
    if found:
        figure = modules.draw(genes.layout(embedding), found, given.title)
    else:
        why = "No gene belongs to a module: the model has no gene embedding, or too few genes for neighbourhoods."
        figure = style.nothing(given.title or "Gene modules", why)
    came = origin("plot_modules.py", given, given.embedding, given.modules, given.module_terms, given.genes)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
