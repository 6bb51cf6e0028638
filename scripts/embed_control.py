"""Make an embedding whose quality is known in advance: random, or nothing but the labels or the batches."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, make, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--counts", required=True, help="an .h5ad with the cells' batch and label")
    arguments.add_argument("--control", required=True, help="random, label_onehot or batch_onehot")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    arguments.add_argument("--output", required=True, help="cell_embedding.parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.files import write_embedding
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.controls import control_embedding
    from sclamp.evaluate.read import read_annotation

    ids, annotation = read_annotation(given.counts)
    embedding = control_embedding(given.control, annotation.batches, annotation.labels, given.seed)
    origin = provenance("embed_control.py", {"control": given.control}, [given.counts], given.code, seed=given.seed)
    write_embedding(given.output, "cell_id", ids, embedding, origin)


if __name__ == "__main__":
    cli.run(main)
