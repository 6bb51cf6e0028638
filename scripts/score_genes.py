"""Score a gene embedding: markers of cell types near their cells, modules with a meaning, co-expressed genes together.

A model without a gene side gets its reasons in the score table, and empty tables.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--genes", required=True, help="gene_embedding.parquet of the run")
    arguments.add_argument("--cells", required=True, help="cell_embedding.parquet of the run")
    arguments.add_argument("--counts", required=True, help="packed counts of the model's genes (.h5ad)")
    arguments.add_argument("--gene-table", required=True, help="table of the gene selection, for symbols (.parquet)")
    arguments.add_argument("--markers", help="table of marker genes: columns cell_type and gene")
    arguments.add_argument("--terms", help="annotation of genes: GMT, or a table with columns term and gene")
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", required=True, help="scores/genes.parquet")
    arguments.add_argument("--gene-markers", required=True, help="genes by proximity to each cell type, to be written")
    arguments.add_argument("--modules", required=True, help="module of each gene, to be written")
    arguments.add_argument("--module-terms", required=True, help="enriched terms of the modules, to be written")
    cli.add_settings(arguments, "section `evaluate` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Evaluate
    from sclamp.config.parse import parsed
    from sclamp.core.files import write_table
    from sclamp.core.progress import doing
    from sclamp.core.provenance import provenance
    from sclamp.data.h5ad import read_cells
    from sclamp.evaluate.gene_markers import read_marker_list
    from sclamp.evaluate.gene_terms import read_terms
    from sclamp.evaluate.gene_vectors import read_gene_vectors
    from sclamp.evaluate.genes import read_symbols, score_genes
    from sclamp.evaluate.read import check_same_cells, read_cell_vectors
    from sclamp.evaluate.rows import write_scores

    settings = parsed(Evaluate, cli.read_settings(given.settings))
    genes, cells, symbols = read_gene_vectors(given.genes), read_cells(given.counts), read_symbols(given.gene_table)
    ids, embedding = read_cell_vectors(given.cells)
    check_same_cells(ids, given.cells, cells.obs.index.to_numpy(), given.counts)
    markers = read_marker_list(given.markers, symbols, "of the data") if given.markers else None
    terms = read_terms(given.terms, symbols) if given.terms else None
    with doing("scores of genes"):
        found = score_genes(genes, embedding, given.counts, cells, markers, terms, settings)
    inputs = [given.genes, given.cells, given.counts, given.gene_table, given.markers, given.terms]
    packages = ["numpy", "scipy", "faiss-cpu", "igraph"]
    used = [path for path in inputs if path]
    origin = provenance("score_genes.py", settings.model_dump(mode="json"), used, given.code, packages)
    write_table(given.gene_markers, found.markers, origin)
    write_table(given.modules, found.modules, origin)
    write_table(given.module_terms, found.module_terms, origin)
    write_scores(given.output, given.dataset, given.model, given.seed, found.rows, origin)


if __name__ == "__main__":
    cli.run(main)
