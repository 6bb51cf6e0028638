"""Give each gene of a selection its vector of a gene prior, and report which genes have one.

A global prior comes by --prior and is matched by name. Priors from a data set itself (expression, onehot) are made
here from --counts, and the controls of such a prior (shuffled, gaussian) from its matched file, --of.
"""

import sys

from sclamp.core import cli


def main() -> None:
    """Parse, match or make, report, write."""
    arguments = cli.parser(__doc__)
    cli.add_settings(arguments, "settings of the gene prior")
    arguments.add_argument("--genes", required=True, help="genes/SELECTION.parquet")
    arguments.add_argument("--counts", required=True, help="genes/SELECTION.h5ad")
    source = arguments.add_mutually_exclusive_group()
    source.add_argument("--prior", help="gene prior for all data sets, to be matched")
    source.add_argument("--of", help="matched gene prior that a control is made of")
    arguments.add_argument("--output", required=True, help="Parquet file to write")
    arguments.add_argument("--report", required=True, help="JSON file to write")
    options = arguments.parse_args()

    from sclamp.core.files import write_json
    from sclamp.core.provenance import provenance
    from sclamp.priors import align, own
    from sclamp.priors.coverage import report_lines
    from sclamp.priors.selection import read_selection
    from sclamp.priors.settings import read_prior_settings

    settings = read_prior_settings(cli.read_settings(options.settings))
    genes = read_selection(options.genes)
    if options.prior:
        aligned, report = align.match_prior(options.prior, genes, settings.matching)
    elif options.of:
        aligned, report = own.control_of(options.of, genes, settings)
    else:
        aligned, report = own.from_dataset(options.counts, genes, settings)
    print(*report_lines(report), sep="\n", file=sys.stderr)

    tables = (settings.matching.aliases, settings.matching.orthologs)
    inputs = [path for path in (options.genes, options.counts, options.prior, options.of, *tables) if path]
    shown = settings.model_dump(mode="json")
    origin = provenance("match_gene_prior.py", shown, inputs, options.code, ("numpy", "pyarrow"))
    align.write_aligned(options.output, genes.names.ids, aligned, origin)
    width = aligned.vectors.shape[1]
    write_json(options.report, {"source": settings.source, "width": width, **report, "provenance": origin})


if __name__ == "__main__":
    cli.run(main)
