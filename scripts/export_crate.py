"""Pack results into an RO-Crate: one zip archive that says of each file what it is and how it was made.

It holds the report, summary tables, figures, embeddings and all other tables, the configuration, and the workflow that
made them; ro-crate-metadata.json describes them (RO-Crate 1.1, Workflow Run Crate 0.5). The user's own data, and files
that are too large, are named with their sha256 and stay out. Equal results give equal bytes. Results whose provenance
does not hold are not packed: `trace_provenance.py --all` says why.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, verify, describe, pack."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--results", type=Path, required=True, help="folder of the results")
    arguments.add_argument("--workflow", type=Path, required=True, help="folder of the Snakefile")
    arguments.add_argument("--config", default="{}", help="the whole configuration: JSON text, or the path of a file")
    arguments.add_argument("--inputs", nargs="*", default=[], type=Path, help="where else to look for inputs")
    arguments.add_argument("--output", type=Path, required=True, help="crate.zip to write")
    cli.add_settings(arguments, "section `export.crate` of the configuration")
    given = arguments.parse_args()

    from sclamp.config.evaluate import Crate
    from sclamp.config.parse import parsed
    from sclamp.core.errors import UserError
    from sclamp.provenance.pack import pack
    from sclamp.provenance.trace import Tracer

    if not given.results.is_dir():
        raise UserError(f"--results: {given.results} is no folder.")
    if not (given.workflow / "Snakefile").is_file():
        raise UserError(f"--workflow: there is no Snakefile in {given.workflow}.")
    settings, config = parsed(Crate, cli.read_settings(given.settings)), cli.read_settings(given.config)
    tracer = Tracer(given.results, given.inputs)
    tracer.files.hash_all()
    packed = pack(tracer, settings, given.workflow, config, given.output)
    print(f"{given.output}: {packed}")


if __name__ == "__main__":
    cli.run(main)
