"""Score how well a model gives back the expression of test cells."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--reconstruction", required=True, help="reconstruction.parquet of the run")
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", required=True, help="scores/reconstruction.parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.provenance import provenance
    from sclamp.evaluate.read import read_reconstruction
    from sclamp.evaluate.reconstruction import score_reconstruction
    from sclamp.evaluate.rows import write_scores

    rows = score_reconstruction(read_reconstruction(given.reconstruction))
    origin = provenance("score_reconstruction.py", {}, [given.reconstruction], given.code)
    write_scores(given.output, given.dataset, given.model, given.seed, rows, origin)


if __name__ == "__main__":
    cli.run(main)
