"""Take the vectors of some genes out of a matched gene prior.

A model trained with the result never sees these genes: training reads the genes that have a vector. Which genes leave
depends on the gene selection, the share and the seed, not on the prior: all models of a dataset leave out the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--gene-prior", type=Path, required=True, help="matched gene prior")
    arguments.add_argument("--counts", type=Path, required=True, help="genes/SELECTION.h5ad that it was matched to")
    arguments.add_argument("--share", type=float, required=True, help="share of the selection's genes to leave out")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the draw")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet file to write")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()
    if not 0 < given.share < 1:
        arguments.error(f"argument --share: {given.share} is not between 0 and 1")

    from sclamp.core.files import read_embedding, write_embedding
    from sclamp.core.provenance import provenance
    from sclamp.data.h5ad import read_cells
    from sclamp.priors.left_out import kept_rows, left_out_genes

    ids, vectors = read_embedding(given.gene_prior, "gene_id")
    var = read_cells(given.counts).var
    genes = var.index.to_numpy(dtype=object)
    left_out = left_out_genes(genes, var["lognorm_mean"].to_numpy(), given.share, given.seed)
    kept = kept_rows(str(given.gene_prior), ids, genes, left_out)
    gone = [gene for gene, stays in zip(ids, kept, strict=True) if not stays]
    print(f"left out: {len(gone)} of {len(ids)} genes with a vector: {', '.join(gone[:5])}, ...", file=sys.stderr)

    settings = {"share": given.share, "seed": given.seed}
    origin = provenance("leave_genes_out.py", settings, [given.gene_prior, given.counts], given.code)
    write_embedding(given.output, "gene_id", ids[kept], vectors[kept], origin)


if __name__ == "__main__":
    cli.run(main)
