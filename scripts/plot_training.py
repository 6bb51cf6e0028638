"""Draw training curves: loss and its parts over epochs, the kept epoch and the warm-up marked: X.png and X.svg.

Several histories stand side by side, such as the phases of a stepwise training.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--history", action="extend", nargs="+", required=True, metavar="NAME=PATH",
        help="history.parquet of a run, with a heading for it; several, in the order of training",
    )  # fmt: skip
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.plot import style, training
    from sclamp.plot.origin import origin

    settings = parsed(Figures, cli.read_settings(given.settings))
    named = [cli.name_and_path(text) if "=" in text else (Path(text).parent.name, text) for text in given.history]
    figure = training.draw([training.read_history(name, path) for name, path in named])
    came = origin("plot_training.py", given, *(path for _, path in named))
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
