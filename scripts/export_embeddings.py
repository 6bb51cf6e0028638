"""Write what a trained model says about the cells and genes of its dataset.

cell_embedding.parquet holds all cells in file order; gene_embedding.parquet the model's genes (no rows for a model
without a gene side); reconstruction.parquet how well held-out expression is reconstructed, per gene, per cell, in all.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, load, embed, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.pt of train_model.py")
    arguments.add_argument("--counts", type=Path, required=True, help="genes/SELECTION.h5ad that it was trained on")
    arguments.add_argument("--cells", type=Path, required=True, help="cell_embedding.parquet to write")
    arguments.add_argument("--genes", type=Path, required=True, help="gene_embedding.parquet to write")
    arguments.add_argument("--reconstruction", type=Path, required=True, help="reconstruction.parquet to write")
    arguments.add_argument(
        "--layout", choices=("sclamp", "scilama"), default="sclamp",
        help="scilama also writes the reference's file names and columns, beside --cells",
    )  # fmt: skip
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()

    import numpy as np

    from sclamp.core.files import write_embedding, write_table
    from sclamp.core.provenance import provenance
    from sclamp.data.batches import Batches
    from sclamp.train import embed
    from sclamp.train.checkpoint import load_model
    from sclamp.train.devices import lease_gpu, torch_device
    from sclamp.train.layout import write_scilama_layout

    loaded = load_model(given.model)
    device = torch_device(given.device, lease_gpu(given.device))
    model, inputs = loaded.model.to(device), embed.inputs_of(loaded, given.counts)
    batches = Batches(inputs, model.wants(), device)
    cells, genes = embed.embed_cells(model, batches), embed.embed_genes(model)
    table = embed.reconstruction_table(model, batches)

    files = (given.model, given.counts)
    origin = provenance("export_embeddings.py", {"layout": given.layout}, files, given.code, ("numpy", "torch"))
    gene_ids = [] if genes is None else model.data.gene_ids
    rows = np.zeros((0, 1), np.float32) if genes is None else genes
    write_embedding(given.cells, "cell_id", inputs.cell_ids, cells, origin)
    write_embedding(given.genes, "gene_id", gene_ids, rows, origin)
    write_table(given.reconstruction, table, origin)
    if given.layout == "scilama":
        of_genes = None if genes is None else (gene_ids, genes)
        write_scilama_layout(given.cells.parent, model.settings.mode, (inputs.cell_ids, cells), of_genes, origin)


if __name__ == "__main__":
    cli.run(main)
