"""Score how well a model gives back the expression of test cells, seen and hidden, and which genes vary afterwards."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--reconstruction", required=True, help="reconstruction.parquet of the run")
    arguments.add_argument("--imputation", help="imputation.parquet of the run")
    arguments.add_argument("--variability", help="gene_variability.parquet of the run")
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", required=True, help="scores/reconstruction.parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.provenance import provenance
    from sclamp.evaluate.reconstruction import read_agreement, score_agreement
    from sclamp.evaluate.rows import write_scores
    from sclamp.evaluate.variability import read_variability, score_variability

    rows = score_agreement(read_agreement(given.reconstruction), "reconstruction")
    if given.imputation:
        rows += score_agreement(read_agreement(given.imputation), "imputation")
    if given.variability:
        rows += score_variability(read_variability(given.variability))
    files = [path for path in (given.reconstruction, given.imputation, given.variability) if path]
    origin = provenance("score_reconstruction.py", {}, files, given.code)
    write_scores(given.output, given.dataset, given.model, given.seed, rows, origin)


if __name__ == "__main__":
    cli.run(main)
