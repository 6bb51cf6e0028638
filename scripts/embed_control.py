"""Make an embedding whose quality is known in advance.

random; nothing but the labels or the batches (label_onehot, batch_onehot); or the rows of another embedding dealt out
anew (shuffled, shuffled_within_batch, shuffled_within_label).
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, make, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--counts", required=True, help="an .h5ad with the cells' batch and label")
    arguments.add_argument("--control", required=True, help="name of the control, see above")
    arguments.add_argument("--of", help="cell_embedding.parquet of the same cells, for the shuffled ones")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    arguments.add_argument("--output", required=True, help="cell_embedding.parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.files import write_embedding
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.controls import PERMUTED, control_embedding
    from sclamp.evaluate.read import check_same_cells, read_annotation, read_cell_vectors

    ids, annotation = read_annotation(given.counts)
    of, inputs = None, [given.counts]
    if given.of and given.control in PERMUTED:
        of_ids, of = read_cell_vectors(given.of)
        check_same_cells(of_ids, given.of, ids, given.counts)
        inputs.append(given.of)
    embedding = control_embedding(given.control, annotation.batches, annotation.labels, given.seed, of)
    origin = provenance("embed_control.py", {"control": given.control}, inputs, given.code, seed=given.seed)
    write_embedding(given.output, "cell_id", ids, embedding, origin)


if __name__ == "__main__":
    cli.run(main)
