"""Look at a dataset before anything heavy runs: keys, counts, ids, batches, splits, gene lists, gene priors, sizes.

Reports every problem at once. Warnings are kept in the report; with an error the exit status is 1 and the table is
printed.
"""

import sys

from sclamp.core import cli


def main() -> None:
    """Parse, check, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--name", required=True, help="name of the dataset")
    cli.add_settings(arguments, "settings of the dataset")
    arguments.add_argument("--gene-selections", default="{}", help="name -> settings, as JSON or a path")
    arguments.add_argument("--gene-priors", default="{}", help="name -> settings, as JSON or a path")
    arguments.add_argument("--output", required=True, help="checks.json to write")
    arguments.add_argument("--table", required=True, help="readable table to write")
    options = arguments.parse_args()

    from sclamp.config.datasets import Dataset
    from sclamp.config.parse import parsed
    from sclamp.core.files import write_json, write_text
    from sclamp.core.provenance import beside, provenance
    from sclamp.data.check import check_dataset
    from sclamp.data.findings import table
    from sclamp.data.settings import UsedWith

    dataset = parsed(Dataset, cli.read_settings(options.settings))
    used = {"gene_selections": options.gene_selections, "gene_priors": options.gene_priors}
    others = parsed(UsedWith, {key: cli.read_settings(text) for key, text in used.items()}, prefix="")
    report = check_dataset(dataset, others.gene_selections, others.gene_priors)
    text = f"dataset {options.name}\n{table(report.findings)}"
    content = {
        "dataset": options.name,
        "status": "failed" if report.failed else "ok",
        "findings": [finding.to_dict() for finding in report.findings],
        "facts": report.facts,
    }
    write_text(options.table, text)
    settings, packages = dataset.model_dump(mode="json"), ("numpy", "h5py")
    # Without inputs: to hash a large file takes longer than to check it.
    origin = provenance("check_dataset.py", settings, (), options.code, packages, beside=beside(options.table))
    write_json(options.output, {**content, "provenance": origin})
    print(text, end="", file=sys.stderr)
    if report.failed:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
