"""Draw the models of one data set in the order of their calibrated scores, with intervals: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--intervals", required=True, help="summary/intervals.parquet")
    arguments.add_argument("--dataset", required=True, help="name of the data set")
    arguments.add_argument("--baseline", default=None, help="model drawn as the baseline")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import read_table
    from sclamp.plot import ranking, standings, style
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import require

    settings = parsed(Figures, cli.read_settings(given.settings))
    table = read_table(given.intervals)
    require(given.intervals, table.column_names, list(standings.COLUMNS))
    found = standings.blocks(table.to_pandas(), given.dataset, given.baseline)
    if found:
        figure = ranking.draw(found, given.dataset)
    else:
        why = f"{given.intervals} has no total, bio or batch score of this data set: did the scoring of every run fail?"
        figure = style.nothing(f"{given.dataset}: ranking", why)
    came = origin("plot_ranking.py", given, given.intervals)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
