"""Embed the cells of a new file with a trained model.

Genes are found by name, in any order: those that the file lacks count as unmeasured and are reported, further ones are
not read. Cells of batches that training did not see get zeros for the batch. Any format that prepare_cells.py reads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sclamp.core import cli
from sclamp.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def main() -> None:
    """Parse, load, read, embed, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.pt of train_model.py")
    arguments.add_argument("--data", required=True, help=".h5ad, 10x .h5 or 10x MTX folder with raw counts")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet to write: cell_id, embedding")
    arguments.add_argument("--h5ad", type=Path, help="also write a copy of an .h5ad with the embedding in obsm")
    arguments.add_argument("--min-genes-share", type=float, default=0.5, help="least share of the model's genes")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    cli.add_settings(arguments, "settings of the data, as in `datasets` (counts, gene_ids, batch, ...)")
    given = arguments.parse_args()
    if given.h5ad and (not given.data.endswith(".h5ad") or given.h5ad.resolve() == Path(given.data).resolve()):
        raise UserError(f"--h5ad: a copy needs an .h5ad as --data and another name, found '{given.data}'.")

    from sclamp.core.files import write_embedding
    from sclamp.core.provenance import provenance
    from sclamp.data.batches import Batches
    from sclamp.train import embed
    from sclamp.train.apply_inputs import new_cells
    from sclamp.train.checkpoint import load_model
    from sclamp.train.computed import computed_on
    from sclamp.train.devices import lease_gpu, torch_device

    loaded = load_model(given.model)
    found = new_cells(loaded, given.model, given.data, cli.read_settings(given.settings), given.min_genes_share)
    device = torch_device(given.device, lease_gpu(given.device))
    model = loaded.model.to(device)
    embedding = embed.embed_cells(model, Batches(found.inputs, model.wants(), device))
    files = [given.model, *found.files]
    origin = provenance("embed_cells.py", found.settings, files, given.code, ("numpy", "torch"), **computed_on(device))
    write_embedding(given.output, "cell_id", found.inputs.cell_ids, embedding, origin)
    if given.h5ad:
        copy_with_embedding(Path(given.data), given.h5ad, f"X_{model.settings.mode}", embedding)


def copy_with_embedding(source: Path, target: Path, key: str, embedding: np.ndarray) -> None:
    """Copy an .h5ad and add an array to its obsm."""
    import h5py
    from anndata.io import write_elem

    from sclamp.core.files import SPARE, take_space, written_aside

    with written_aside(target) as aside:
        shutil.copyfile(source, aside)
        take_space(aside, embedding.nbytes + SPARE)
        with h5py.File(aside, "r+") as file:
            write_elem(file, f"obsm/{key}", embedding)


if __name__ == "__main__":
    cli.run(main)
