"""Make workflow/schemas/config.schema.yaml, for editors, from scripts/sclamp/config.

python scripts/make_schema.py            write it
python scripts/make_schema.py --check    fail when it is out of date
"""

from pathlib import Path

from sclamp.core import cli
from sclamp.core.errors import UserError
from sclamp.core.files import write_text

SCHEMA = Path(__file__).resolve().parent.parent / "workflow" / "schemas" / "config.schema.yaml"


def main() -> None:
    """Write or check the schema."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--check", action="store_true", help="only compare")
    check = arguments.parse_args().check
    from sclamp.config.schema import schema_text

    if not check:
        write_text(SCHEMA, schema_text())
    elif SCHEMA.read_text(encoding="utf-8") != schema_text():
        raise UserError(f"{SCHEMA} is out of date: run `make schema`.")


if __name__ == "__main__":
    cli.run(main)
