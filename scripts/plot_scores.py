"""Draw the score table of one data set: models and controls, means, intervals, bars: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--scores", required=True, help="summary/scores.parquet")
    arguments.add_argument("--intervals", help="summary/intervals.parquet: intervals and ranks beside the means")
    arguments.add_argument("--dataset", required=True, help="data set whose scores are drawn")
    arguments.add_argument("--baseline", default="pca", help="model set apart as the PCA control (default: pca)")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import read_table
    from sclamp.plot import scores, style
    from sclamp.plot.origin import origin
    from sclamp.plot.scoreboard import boards, without_extras

    settings = parsed(Figures, cli.read_settings(given.settings))
    intervals = read_table(given.intervals).to_pandas() if given.intervals else None
    found = boards(read_table(given.scores).to_pandas(), given.dataset, given.baseline, intervals=intervals)
    figure = scores.draw([without_extras(board) for board in found])
    came = origin("plot_scores.py", given, given.scores, given.intervals)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
