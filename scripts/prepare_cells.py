"""Write the cells of a dataset that pass quality control, with split and encoded covariates, as cells.h5ad.

Reads .h5ad (CSR, CSC or dense; X, raw or a layer), 10x .h5, 10x MTX folders, a list of these, or an https address.
"""

from sclamp.core import cli


def main() -> None:
    """Parse, open, prepare."""
    arguments = cli.parser(__doc__)
    cli.add_settings(arguments, "settings of the dataset")
    arguments.add_argument("--output", required=True, help="cells.h5ad to write")
    options = arguments.parse_args()

    from sclamp.config.datasets import Dataset
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.data.prepare import prepare_cells
    from sclamp.data.sources import open_source

    dataset = parsed(Dataset, cli.read_settings(options.settings))
    with open_source(dataset) as source:
        packages = ("numpy", "scipy", "pandas", "h5py", "anndata")
        origin = provenance("prepare_cells.py", dataset.model_dump(mode="json"), source.files(), options.code, packages)
        prepare_cells(source, dataset, options.output, origin)


if __name__ == "__main__":
    cli.run(main)
