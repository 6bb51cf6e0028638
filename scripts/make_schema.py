"""Make workflow/schemas/config.schema.yaml and docs/configuration.md from scripts/sclamp/config.

python scripts/make_schema.py            write them
python scripts/make_schema.py --check    fail when one is out of date, and show the difference
"""

import difflib
from pathlib import Path

from sclamp.core import cli
from sclamp.core.errors import UserError
from sclamp.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Write or check the files."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--check", action="store_true", help="only compare")
    check = arguments.parse_args().check
    from sclamp.config.reference import reference_text
    from sclamp.config.schema import schema_text

    wanted = {"workflow/schemas/config.schema.yaml": schema_text(), "docs/configuration.md": reference_text()}
    problems = []
    for name, text in wanted.items():
        if not check:
            write_text(ROOT / name, text)
            continue
        found = (ROOT / name).read_text(encoding="utf-8")
        if found != text:
            lines = difflib.unified_diff(found.splitlines(), text.splitlines(), "found", "expected", lineterm="", n=0)
            problems.append(f"{name} is out of date: run `make schema`.\n" + "\n".join(list(lines)[:20]))
    if problems:
        raise UserError(*problems)


if __name__ == "__main__":
    cli.run(main)
