"""Write what a trained model says about the cells and genes of its dataset.

cell_embedding.parquet holds all cells in file order; gene_embedding.parquet the model's genes (no rows for a model
without a gene side); reconstruction.parquet how well held-out expression is reconstructed, per gene, per cell, in all.
On request: imputation.parquet, the same for entries that were hidden from the model; reconstruction_pairs.parquet, a
sample of single entries; gene_variability.parquet, mean and variance of corrected expression per batch and gene.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sclamp.core import cli


def main() -> None:
    """Parse, load, embed, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.pt of train_model.py")
    arguments.add_argument("--counts", type=Path, required=True, help="genes/SELECTION.h5ad that it was trained on")
    arguments.add_argument("--cells", type=Path, required=True, help="cell_embedding.parquet to write")
    arguments.add_argument("--genes", type=Path, required=True, help="gene_embedding.parquet to write")
    arguments.add_argument("--reconstruction", type=Path, required=True, help="reconstruction.parquet to write")
    arguments.add_argument("--imputation", type=Path, help="imputation.parquet to write")
    arguments.add_argument("--pairs", type=Path, help="reconstruction_pairs.parquet to write")
    arguments.add_argument("--variability", type=Path, help="gene_variability.parquet to write")
    arguments.add_argument("--masked-share", type=float, default=0.1, help="share of a cell's entries to hide")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the entries that are hidden or sampled")
    arguments.add_argument(
        "--layout", choices=("sclamp", "scilama"), default="sclamp",
        help="scilama also writes the reference's file names and columns, beside --cells",
    )  # fmt: skip
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()
    if not 0 < given.masked_share < 1:
        arguments.error(f"argument --masked-share: {given.masked_share} is not between 0 and 1")

    import numpy as np

    from sclamp.core.files import write_embedding
    from sclamp.core.provenance import provenance
    from sclamp.data.batches import Batches
    from sclamp.train import embed
    from sclamp.train.checkpoint import load_model
    from sclamp.train.computed import computed_on
    from sclamp.train.devices import lease_gpu, torch_device
    from sclamp.train.layout import write_scilama_layout

    loaded = load_model(given.model)
    device = torch_device(given.device, lease_gpu(given.device))
    model, inputs = loaded.model.to(device), embed.inputs_of(loaded, given.counts)
    batches = Batches(inputs, model.wants() | {"counts", "lognorm"}, device)
    cells, genes = embed.embed_cells(model, batches), embed.embed_genes(model)

    settings = {"layout": given.layout, "masked_share": given.masked_share, "seed": given.seed}
    files = (given.model, given.counts)
    origin = provenance("export_embeddings.py", settings, files, given.code, ("numpy", "torch"), **computed_on(device))
    gene_ids = [] if genes is None else model.data.gene_ids
    rows = np.zeros((0, 1), np.float32) if genes is None else genes
    write_embedding(given.cells, "cell_id", inputs.cell_ids, cells, origin)
    write_embedding(given.genes, "gene_id", gene_ids, rows, origin)
    write_reconstructions(given, model, batches, origin)
    if given.layout == "scilama":
        of_genes = None if genes is None else (gene_ids, genes)
        write_scilama_layout(given.cells.parent, model.settings.mode, (inputs.cell_ids, cells), of_genes, origin)


def write_reconstructions(given: Any, model: Any, batches: Any, origin: Any) -> None:
    """Reconstruct held-out cells, whole and with hidden entries, and all cells corrected, as far as asked for."""
    from sclamp.core.files import write_table
    from sclamp.data.h5ad import read_cells
    from sclamp.train.corrected import variability_table
    from sclamp.train.reconstruction import agreement_of, held_out_rows, impute, pairs_table, reconstruct

    rows = held_out_rows(batches.inputs, model.data.n_genes)
    whole = reconstruct(model, batches, rows)
    write_table(given.reconstruction, agreement_of(whole), origin)
    if given.imputation or given.pairs:
        hidden = impute(model, batches, rows, given.masked_share, given.seed)
        if given.imputation:
            write_table(given.imputation, agreement_of(hidden), origin)
        if given.pairs:
            write_table(given.pairs, pairs_table(whole, hidden, given.seed), origin)
    if given.variability:
        table = variability_table(model, batches, read_cells(given.counts).obs["batch"])
        write_table(given.variability, table, origin)


if __name__ == "__main__":
    cli.run(main)
