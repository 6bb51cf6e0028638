"""Draw what a classifier confuses on held-out cells, and whether its probabilities hold: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--predictions", required=True, help="predictions.parquet of apply_model.py")
    arguments.add_argument("--cells", required=True, help="an .h5ad with the cells' batch, label and split")
    arguments.add_argument("--title", default="", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.evaluate.measure import NotApplicable
    from sclamp.evaluate.predictions import read_scored
    from sclamp.plot import classification, style
    from sclamp.plot.origin import origin

    settings = parsed(Figures, cli.read_settings(given.settings))
    scored = read_scored(given.predictions, given.cells)
    title = given.title or "Predicted labels"
    if isinstance(scored, NotApplicable):
        figure = style.nothing(title, f"Nothing to show: {scored}.")
    else:
        figure = classification.draw(scored, title)
    came = origin("plot_classification.py", given, given.predictions, given.cells)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
