"""Write the report: one HTML file that opens offline, made from whatever exists of what was asked for.

The plan is a JSON text or file: title, results (the output folder), datasets, models, controls, seeds and, for the
record, gene_selections, gene_priors, evaluate, figures. What is missing is named, with the last lines of the logs of
the jobs that failed.
"""

from __future__ import annotations

import json
from typing import Any

from sclamp.core import cli


def main() -> None:
    """Parse, collect, render, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--plan", required=True, help="what was asked for: JSON text, or the path of a JSON file")
    arguments.add_argument("--output", required=True, help="the page to write, such as results/report.html")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    from sclamp.core.files import write_text
    from sclamp.core.provenance import provenance
    from sclamp.report.files import files_read
    from sclamp.report.page import render
    from sclamp.report.plan import read_plan

    plan = read_plan(given.plan)
    origin = provenance("write_report.py", plan.raw, files_read(plan), given.code, ("Jinja2", "pandas", "pyarrow"))
    write_text(given.output, with_provenance(render(plan), origin))


def with_provenance(page: str, origin: dict[str, Any]) -> str:
    """The page with its provenance as JSON at its end, where no reader sees it."""
    text = json.dumps(origin).replace("<", "\\u003c")
    before, end, after = page.rpartition("</body>")
    return f'{before}<script type="application/json" id="sclamp">{text}</script>\n{end}{after}'


if __name__ == "__main__":
    cli.run(main)
