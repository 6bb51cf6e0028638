"""Score the labels that a model predicts for held-out cells: test cells, or where there are none validation cells.

How often they are right (accuracy, F1, AUROC), how far off in the Cell Ontology, how well their probabilities hold.
"""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--predictions", required=True, help="predictions.parquet of apply_model.py")
    arguments.add_argument("--cells", required=True, help="an .h5ad with the cells' batch, label and split")
    arguments.add_argument(
        "--label-terms", default="{}", help="label -> term of the Cell Ontology: JSON text or a file"
    )
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", required=True, help="scores/classification.parquet")
    arguments.add_argument("--replicates", help="table of the scores of resampled cells, to be written")
    cli.add_settings(arguments, "section `evaluate` of the configuration")
    given = arguments.parse_args()

    import sys

    from sclamp.config.evaluate import Evaluate
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.classification import remarks, score_classification
    from sclamp.evaluate.measure import NotApplicable
    from sclamp.evaluate.predictions import read_scored
    from sclamp.evaluate.replicates import write_replicates
    from sclamp.evaluate.rows import write_scores

    settings, terms = parsed(Evaluate, cli.read_settings(given.settings)), cli.read_settings(given.label_terms)
    scored = read_scored(given.predictions, given.cells, terms)
    if not isinstance(scored, NotApplicable):
        print(*remarks(scored), sep="\n", end="", file=sys.stderr)
    found = score_classification(scored, settings)
    how = {**settings.model_dump(mode="json"), "label_terms": terms}
    packages = ["numpy", "scipy", "cellxgene-ontology-guide"]
    origin = provenance("score_classification.py", how, [given.predictions, given.cells], given.code, packages)
    if given.replicates:
        write_replicates(given.replicates, given.dataset, given.model, given.seed, found.replicates, origin)
    write_scores(given.output, given.dataset, given.model, given.seed, found.rows, origin)


if __name__ == "__main__":
    cli.run(main)
