"""Collect what scores need of the expression itself, once per data set.

Cell-cycle scores of cells and how much variance they explain in each batch, the most variable genes of each batch, and
how far cell types are apart within batches.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, collect, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cells", required=True, help="cells.h5ad, with the counts of all genes")
    arguments.add_argument("--counts", required=True, help="counts of the selected genes of the same cells")
    arguments.add_argument("--output", required=True, help="expression.json to write")
    arguments.add_argument("--per-cell", required=True, help="expression.parquet to write")
    cli.add_settings(arguments, "section `evaluate` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Evaluate
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.data.h5ad import CountMap, read_cells
    from sclamp.evaluate.describe import Described, describe
    from sclamp.evaluate.expression import write_expression

    settings = parsed(Evaluate, cli.read_settings(given.settings))
    cells = read_cells(given.cells)
    data = Described(cells, CountMap(given.cells), read_cells(given.counts), CountMap(given.counts))
    found, more = describe(data)
    packages = ["numpy", "scipy", "pandas", "h5py", "anndata"]
    inputs = [given.cells, given.counts]
    origin = provenance("describe_expression.py", settings.model_dump(mode="json"), inputs, given.code, packages)
    write_expression(given.output, given.per_cell, cells.obs.index.to_numpy(), found, more, origin)


if __name__ == "__main__":
    cli.run(main)
