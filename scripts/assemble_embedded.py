"""Put all embeddings of a data set into one AnnData: embedded.h5ad, the counts and obs of cells.h5ad included.

obsm["X_<model>"] holds the cells' embedding, obsm["X_umap_<model>"] the layout where there is one, varm["<model>"] the
genes' embedding (NaN for genes that the model does not read). Where a model ran with several seeds, the names end in
_seed<k>. sc.pl.embedding(adata, "X_umap_<model>") works as it is.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, check, copy, add."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cells", required=True, help="cells.h5ad of the data set")
    arguments.add_argument(
        "--run", action="extend", nargs="+", required=True, metavar="NAME=FOLDER",
        help="a model's name and the folder of a run (.../seed_<k>); several",
    )  # fmt: skip
    arguments.add_argument("--output", required=True, help="the AnnData to write")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.report.embedded import assemble, parse_runs

    assemble(given.cells, parse_runs(given.run), given.output, given.code)


if __name__ == "__main__":
    cli.run(main)
