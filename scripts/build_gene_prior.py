"""Make one gene prior for all data sets: gene_id and embedding as Parquet, its origin as JSON.

Sources: text (descriptions, by a sentence-transformers model), protein (FASTA, by an ESM-2 checkpoint), file (Parquet,
CSV/TSV, npz, pickle, checkpoint), and the controls shuffled and gaussian of another prior (--of). What was embedded
before comes from --cache; an interrupted run resumes there.
"""

import sys
from pathlib import Path

from sclamp.core import cli

PACKAGES = {
    "text": ("numpy", "pandas", "torch", "transformers", "sentence-transformers"),
    "protein": ("numpy", "torch", "transformers"),
    "file": ("numpy", "pandas", "pyarrow"),
}


def main() -> None:
    """Parse, make vectors, write."""
    arguments = cli.parser(__doc__)
    cli.add_settings(arguments, "settings of the gene prior")
    arguments.add_argument("--of", help="gene prior that a control (shuffled, gaussian) is made of")
    arguments.add_argument("--only", nargs="*", default=[], help="genes/*.parquet: make vectors for their genes only")
    arguments.add_argument("--output", required=True, help="Parquet file to write")
    arguments.add_argument("--sidecar", required=True, help="JSON file to write")
    arguments.add_argument("--cache", type=Path, default=Path("results/.cache/texts"), help="folder of known vectors")
    options = arguments.parse_args()

    from sclamp.core.errors import UserError
    from sclamp.core.files import write_json
    from sclamp.core.provenance import provenance
    from sclamp.priors import controls
    from sclamp.priors.local import localized
    from sclamp.priors.selection import read_selection
    from sclamp.priors.settings import read_prior_settings
    from sclamp.priors.sources import make_vectors, note_of_repetitions
    from sclamp.priors.vectors import GeneVectors, read_vectors, write_vectors

    settings = read_prior_settings(cli.read_settings(options.settings))
    local = localized(settings)
    facts: dict[str, object] = {}
    if settings.source in {"shuffled", "gaussian"}:
        if options.of is None:
            raise UserError(f"--of: source {settings.source} needs the Parquet file of gene prior '{settings.of}'.")
        parent = read_vectors(options.of)
        genes = GeneVectors(parent.names, getattr(controls, settings.source)(parent.vectors, settings.seed))
        inputs = [options.of]
    elif settings.source in PACKAGES:
        wanted = [read_selection(path).names for path in options.only]
        genes, facts = make_vectors(local, wanted, options.cache)
        paths = (getattr(local, key, None) for key in ("table", "fasta", "path", "vocabulary"))
        inputs = [path for path in paths if path] + options.only
    else:
        raise UserError(f"source {settings.source} is made from each data set's own genes: use match_gene_prior.py.")
    if note := note_of_repetitions(genes.names):
        print(note, file=sys.stderr)

    packages = PACKAGES.get(settings.source, ("numpy",))
    shown = settings.model_dump(mode="json")
    origin = provenance("build_gene_prior.py", shown, inputs, options.code, packages, **facts)
    write_vectors(options.output, genes, origin)
    n, width = genes.vectors.shape
    write_json(options.sidecar, {"source": settings.source, "n": n, "width": width, **facts, "provenance": origin})
    print(f"{n} genes, {width} values each", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
