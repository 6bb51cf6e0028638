"""Gather the scores of all runs in one table; with intervals and paired comparisons beside it.

Says which models stay below a control. Every Parquet table has the same content as .csv beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclamp.core import cli

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Parse, read, join, write."""
    given = parse()

    import pyarrow as pa

    from sclamp.core.files import write_table
    from sclamp.core.provenance import beside, provenance
    from sclamp.evaluate.resampled import read_resampled
    from sclamp.evaluate.rows import read_scores
    from sclamp.evaluate.summary import prior_pairs, summarize

    pairs = prior_pairs(read_list(given.prior_controls))
    scores = read_scores(given.scores)
    summary = summarize(scores.to_pandas(), read_resampled(given.replicates), given.baseline, pairs)
    table = scores.append_column("calibrated", pa.array(summary.scores["calibrated"].to_numpy()))
    settings = {"baseline": given.baseline, "prior_controls": pairs}
    files = sorted([*given.scores, *given.replicates])
    origin = provenance("summarize_scores.py", settings, files, given.code, ["pyarrow", "numpy", "scipy", "pandas"])
    write_csv(given.csv, summary.scores)
    write_table(given.output, table, {**origin, "beside": beside(given.csv)})
    for frame, path in ((summary.intervals, given.intervals), (summary.comparisons, given.comparisons)):
        if path:
            write_csv(csv := Path(path).with_suffix(".csv"), frame)
            write_table(path, frame, {**origin, "beside": beside(csv)})
    totals = summary.intervals[summary.intervals["metric"] == "total"]
    for row in totals[totals["below_control"] != ""].itertuples():
        print(f"{row.dataset}, {row.cells} cells: {row.model} scores {row.mean:.3f}, below {row.below_control}")


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table aside as CSV and rename it."""
    from sclamp.core.files import written_aside

    with written_aside(path) as aside:
        frame.to_csv(aside, index=False)


def parse() -> Any:
    """The command line."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--scores", nargs="+", required=True, help="scores/*.parquet of the runs")
    arguments.add_argument("--replicates", nargs="*", default=[], help="replicates.parquet of the runs")
    arguments.add_argument("--baseline", help="name of the model that is the PCA control")
    arguments.add_argument(
        "--prior-controls",
        default="[]",
        help='JSON list of {"model", "control", "of"}: the run `model` is `of` with a control in place of its priors',
    )
    arguments.add_argument("--output", required=True, help="all scores, Parquet")
    arguments.add_argument("--csv", required=True, help="all scores, CSV")
    arguments.add_argument("--intervals", help="means over seeds with intervals and ranks, Parquet")
    arguments.add_argument("--comparisons", help="paired differences between models, Parquet")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    return arguments.parse_args()


def read_list(text: str) -> Any:
    """Read the value of --prior-controls."""
    from sclamp.core.errors import UserError

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--prior-controls: not valid JSON ({error}).") from error


if __name__ == "__main__":
    cli.run(main)
