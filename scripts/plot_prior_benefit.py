"""Draw, for one data set, what each model gains from its true gene prior over control priors: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--comparisons", required=True, help="summary/comparisons.parquet")
    arguments.add_argument("--dataset", required=True, help="name of the data set")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.files import read_table
    from sclamp.plot import prior_benefit, style
    from sclamp.plot.origin import origin
    from sclamp.plot.tables import require

    settings = parsed(Figures, cli.read_settings(given.settings))
    table = read_table(given.comparisons)
    require(given.comparisons, table.column_names, list(prior_benefit.COLUMNS))
    frame = table.to_pandas()
    own = frame[(frame["dataset"] == given.dataset) & (frame["kind"] == "prior")]
    if len(prior_benefit.chosen(own)):
        figure = prior_benefit.draw(own, given.dataset)
    elif len(own):
        why = "The models with true and control priors have no score in common: did the scoring of one side fail?"
        figure = style.nothing(f"{given.dataset}: what the gene prior adds", why)
    else:
        why = (
            "No model was compared with a control of its gene prior. Such models are made by one line of the "
            "configuration: prior_controls: [shuffled, gaussian, onehot, none] under a model that reads gene priors."
        )
        figure = style.nothing(f"{given.dataset}: what the gene prior adds", why)
    came = origin("plot_prior_benefit.py", given, given.comparisons)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
