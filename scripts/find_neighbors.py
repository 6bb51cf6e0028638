"""Find the exact nearest neighbours of each cell of an embedding, for all scores and figures at once."""

from __future__ import annotations

from sclamp.core import cli


def main() -> None:
    """Parse, read, search, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--embedding", required=True, help="cell_embedding.parquet of a run")
    arguments.add_argument("--output", required=True, help="neighbors.parquet: cell_id, neighbors, distances")
    cli.add_settings(arguments, "section `evaluate` of the configuration")
    given = arguments.parse_args()

    import numpy as np

    from sclamp.config.evaluate import Evaluate
    from sclamp.config.parse import parsed
    from sclamp.core.provenance import provenance
    from sclamp.evaluate.neighbors import find_neighbors
    from sclamp.evaluate.read import read_cell_vectors
    from sclamp.evaluate.write import write_neighbors

    settings = parsed(Evaluate, cli.read_settings(given.settings))
    ids, embedding = read_cell_vectors(given.embedding)
    finite = np.isfinite(embedding).all(axis=1)
    found = find_neighbors(embedding[finite], settings.neighbors)
    origin = provenance(
        "find_neighbors.py", {"neighbors": settings.neighbors}, [given.embedding], given.code, ["numpy", "faiss-cpu"]
    )
    write_neighbors(given.output, ids, finite, found, origin)


if __name__ == "__main__":
    cli.run(main)
