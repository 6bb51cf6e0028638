"""Draw measured against reconstructed expression of one run, and the correlation of each gene: X.png and X.svg."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--pairs", required=True, help="reconstruction_pairs.parquet of the run: sampled entries")
    arguments.add_argument("--reconstruction", required=True, help="reconstruction.parquet of the run: agreement")
    arguments.add_argument("--imputation", help="imputation.parquet of the run: agreement on masked entries")
    arguments.add_argument("--title", default="", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.plot import reconstruction, style
    from sclamp.plot.origin import origin

    settings = parsed(Figures, cli.read_settings(given.settings))
    pairs = reconstruction.read_pairs(given.pairs)
    seen = reconstruction.read_agreement(given.reconstruction)
    hidden = reconstruction.read_agreement(given.imputation) if given.imputation else None
    if len(pairs.masked):
        figure = reconstruction.draw(pairs, seen, hidden, given.title)
    else:
        why = (
            "No reconstruction to show: the model has no decoder, the data has no held-out cells, or every "
            "reconstructed value is NaN."
        )
        figure = style.nothing(given.title or "Reconstruction", why)
    came = origin("plot_reconstruction.py", given, given.pairs, given.reconstruction, given.imputation)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
