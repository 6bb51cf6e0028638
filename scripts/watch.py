"""Show what the jobs of a workflow say: one line for each that runs, renewed on a terminal until Ctrl-C.

Reads the logs in a results folder, so it may run in a second terminal or on the login node of a cluster. A job that
failed is shown, too, until it has been silent for --minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sclamp.core import cli
from sclamp.core.errors import UserError


def main() -> None:
    """Parse, look, and look again."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("results", nargs="?", default="results", type=Path, help="results folder (results)")
    arguments.add_argument("--minutes", type=float, default=60, help="leave out jobs that were silent longer (60)")
    arguments.add_argument("--seconds", type=float, default=2, help="between two looks (2)")
    given = arguments.parse_args()

    from sclamp.watch.folder import lines
    from sclamp.watch.live import follow

    if not given.results.is_dir():
        raise UserError(f"results: {given.results} is no folder; give the `output` of your configuration.")
    follow(lambda: lines(given.results, given.minutes), sys.stdout, given.seconds)


if __name__ == "__main__":
    cli.run(main)
