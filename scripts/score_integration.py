"""Score an embedding: biology kept, batches mixed, what linear probes read from it.

All cells are scored, and apart from them those that the model did not train on (split val and test), among themselves.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--cells", required=True, help="an .h5ad with the cells' batch, label and split")
    arguments.add_argument("--embedding", required=True, help="cell_embedding.parquet of the run")
    arguments.add_argument("--neighbors", required=True, help="neighbors.parquet of the run")
    arguments.add_argument("--reference", help="cell_embedding.parquet of a PCA, for the PCR comparison")
    arguments.add_argument("--expression", help="expression.json of describe_expression.py, for scores that need it")
    arguments.add_argument("--expression-cells", help="expression.parquet that belongs to it")
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", required=True, help="scores/integration.parquet")
    arguments.add_argument("--replicates", required=True, help="replicates.parquet: scores of resampled cells")
    arguments.add_argument("--per-cell", required=True, help="cell_scores.parquet: scores of single cells")
    cli.add_settings(arguments, "section `evaluate` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Evaluate
    from sclamp.config.parse import parsed
    from sclamp.core.errors import UserError
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.expression import read_expression
    from sclamp.evaluate.integration import score_embedding
    from sclamp.evaluate.read import check_same_cells, read_annotation, read_cell_vectors, read_neighbors
    from sclamp.evaluate.replicates import write_cell_scores, write_replicates
    from sclamp.evaluate.rows import write_scores

    settings = parsed(Evaluate, cli.read_settings(given.settings))
    ids, annotation = read_annotation(given.cells)
    embedded, embedding = read_cell_vectors(given.embedding)
    check_same_cells(embedded, given.embedding, ids, given.cells)
    searched, neighbors = read_neighbors(given.neighbors)
    check_same_cells(searched, given.neighbors, ids, given.cells)
    reference = None
    if given.reference:
        referred, reference = read_cell_vectors(given.reference)
        check_same_cells(referred, given.reference, ids, given.cells)
    expression = None
    if bool(given.expression) != bool(given.expression_cells):
        raise UserError("--expression and --expression-cells belong together; give both or none.")
    if given.expression:
        described, expression = read_expression(given.expression, given.expression_cells)
        check_same_cells(described, given.expression_cells, ids, given.cells)
    found = score_embedding(embedding, annotation, neighbors, reference, settings, expression)
    optional = (given.reference, given.expression, given.expression_cells)
    inputs = [given.cells, given.embedding, given.neighbors, *(path for path in optional if path)]
    packages = ["numpy", "scipy", "faiss-cpu", "igraph"]
    origin = provenance("score_integration.py", settings.model_dump(mode="json"), inputs, given.code, packages)
    write_replicates(given.replicates, given.dataset, given.model, given.seed, found.replicates, origin)
    write_cell_scores(given.per_cell, ids, found.per_cell, origin)
    write_scores(given.output, given.dataset, given.model, given.seed, found.rows, origin)


if __name__ == "__main__":
    cli.run(main)
