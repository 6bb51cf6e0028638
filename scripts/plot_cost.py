"""Draw run time and peak memory of each step of the workflow: X.png and X.svg.

They are read from the benchmark files that Snakemake has written so far.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, read, draw, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--results", required=True, help="folder of the results")
    arguments.add_argument("--title", default="Cost", help="heading of the figure")
    arguments.add_argument("--output", required=True, help="the PNG; the SVG is written beside it")
    cli.add_settings(arguments, "section `figures` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Figures
    from sclamp.config.parse import parsed
    from sclamp.core.errors import UserError
    from sclamp.plot import cost, style
    from sclamp.plot.origin import origin

    settings = parsed(Figures, cli.read_settings(given.settings))
    if not Path(given.results).is_dir():
        raise UserError(f"--results: {given.results} is no folder.")
    if steps := cost.read_steps(given.results):
        figure = cost.draw(steps, given.title)
    else:
        why = f"No benchmark file (*{cost.ENDING}) is below {given.results}: Snakemake writes one when a job has ended."
        figure = style.nothing(given.title, why)
    came = origin("plot_cost.py", given)
    style.save(figure, given.output, settings.dpi, came)


if __name__ == "__main__":
    cli.run(main)
