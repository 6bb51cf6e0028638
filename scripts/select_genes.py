"""Select genes of cells.h5ad: their statistics as a table, their counts packed for training."""

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, read, select, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cells", required=True, help="cells.h5ad, as written by prepare_cells.py")
    cli.add_settings(arguments, "settings of the gene selection")
    arguments.add_argument("--table", required=True, help="Parquet table of all genes to write")
    arguments.add_argument("--counts", required=True, help=".h5ad with the selected genes' counts to write")
    options = arguments.parse_args()

    from sclamp.config.gene_selections import GeneSelection
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.data.h5ad import CountMap, read_cells
    from sclamp.data.select import report, select_genes, write_selection

    settings = parsed(GeneSelection, cli.read_settings(options.settings))
    cells, counts = read_cells(options.cells), CountMap(options.cells)
    selection = select_genes(counts, cells, settings)
    report(selection, settings)
    packages = ("numpy", "scipy", "pandas", "scikit-misc", "h5py", "anndata")
    origin = provenance(
        "select_genes.py",
        settings.model_dump(mode="json"),
        [options.cells],
        options.code,
        packages,
        notes=selection.notes,
    )
    write_selection(selection, counts, cells, Path(options.table), Path(options.counts), origin)


if __name__ == "__main__":
    cli.run(main)
