"""Gather score tables of many runs in one, as Parquet and CSV, and say which models stay below a control."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, join, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--scores", nargs="+", required=True, help="scores/*.parquet of the runs")
    arguments.add_argument("--output", required=True, help="all scores, Parquet")
    arguments.add_argument("--csv", required=True, help="all scores, CSV")
    arguments.add_argument("--ranking", help="totals over seeds and the controls above each model, Parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.files import write_table, written_aside
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.rows import read_scores
    from sclamp.evaluate.summary import rank_models

    table = read_scores(given.scores)
    frame = table.to_pandas()
    # Many inputs have the same name: they are told apart by what is in the rows, and hashed by what they hold.
    origin = provenance("summarize_scores.py", {}, [], given.code, ["pyarrow"])
    write_table(given.output, table, origin)
    with written_aside(given.csv) as aside:
        frame.to_csv(aside, index=False)
    ranking = rank_models(frame)
    if given.ranking:
        write_table(given.ranking, ranking, origin)
    for row in ranking[ranking["below_control"] != ""].itertuples():
        print(f"{row.dataset}, {row.cells} cells: {row.model} scores {row.total_mean:.3f}, below {row.below_control}")


if __name__ == "__main__":
    cli.run(main)
