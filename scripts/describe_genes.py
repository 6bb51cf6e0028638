"""Statistics of genes over all cells and per batch, as one table; or merge tables that were made apart."""

from __future__ import annotations

import sys

from sclamp.core import cli


def main() -> None:
    """Parse, read, describe or merge, write."""
    arguments = cli.parser(__doc__)
    inputs = arguments.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--cells", nargs="+", help="cells.h5ad of one or several data sets, by prepare_cells.py")
    inputs.add_argument("--merge", nargs="+", help="tables of this script over different cells")
    cli.add_settings(arguments, "settings of the gene statistics")
    arguments.add_argument("--output", required=True, help="Parquet table to write")
    options = arguments.parse_args()

    from sclamp.config.gene_statistics import GeneStatisticsSettings
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.data.gene_statistics import describe, merge
    from sclamp.data.gene_statistics_table import read_statistics, write_statistics
    from sclamp.data.h5ad import CountMap, read_cells

    settings = parsed(GeneStatisticsSettings, cli.read_settings(options.settings))
    if options.merge:
        found = merge([(path, read_statistics(path)) for path in options.merge], settings)
    else:
        found = describe([(CountMap(path), read_cells(path)) for path in options.cells], settings)
    print(found.summary(), file=sys.stderr)
    origin = provenance(
        "describe_genes.py",
        settings.model_dump(mode="json"),
        options.merge or options.cells,
        options.code,
        ("numpy", "scipy", "pyarrow", "h5py", "anndata"),
    )
    write_statistics(options.output, found, origin)


if __name__ == "__main__":
    cli.run(main)
