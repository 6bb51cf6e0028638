"""Write the expression of chosen genes as a model of counts sees it, without noise and in batches of your choice.

Each value is the expected count of a gene in a cell whose counts of all the model's genes sum to --library-size. By
default a cell is shown in its own batch; with --in-batches as if those had measured it, averaged over them.

The cells are those of --counts, the file that the model was trained on, or of --data, any file as in embed_cells.py.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli
from sclamp.core.errors import UserError


def main() -> None:
    """Parse, load, read, compute, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.pt of train_model.py, of a model of counts")
    cli.add_cells(arguments)
    arguments.add_argument("--genes", nargs="+", required=True, help="gene ids")
    shown = arguments.add_mutually_exclusive_group()
    shown.add_argument("--in-batches", nargs="+", help="batches in which cells are shown")
    shown.add_argument("--in-all-batches", action="store_true", help="the mean over all batches of the training")
    arguments.add_argument("--samples", type=int, default=0, help="posterior samples; 0 takes the posterior mean")
    arguments.add_argument("--importance", action="store_true", help="weigh samples by importance, cell by cell")
    arguments.add_argument("--library-size", type=float, default=1e4, help="what a cell's expression sums to")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet to write: cell_id, a column per gene")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the samples")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    given = arguments.parse_args()
    settings = cli.read_cell_settings(given)
    if given.samples < 0 or not given.library_size > 0:
        raise UserError(
            f"--samples {given.samples}, --library-size {given.library_size}: expected 0 or more, and more than 0."
        )

    from sclamp.core.files import write_table
    from sclamp.core.provenance import provenance
    from sclamp.data.batches import Batches
    from sclamp.train import apply_inputs, express
    from sclamp.train.checkpoint import load_model
    from sclamp.train.computed import computed_on
    from sclamp.train.devices import lease_gpu, torch_device

    loaded = load_model(given.model)
    device = torch_device(given.device, lease_gpu(given.device))
    asked_cells = apply_inputs.Asked(given.model, given.counts, given.data, settings, given.min_genes_share)
    found = apply_inputs.cells_of(asked_cells, loaded, device)
    model = loaded.model.to(device)
    batches = () if given.in_all_batches else given.in_batches
    asked = express.Asked(given.genes, batches, given.samples, given.importance, given.library_size, given.seed)
    table = express.express(model, Batches(found.inputs, model.wants(), device), asked)
    how = {**vars(asked), "genes": list(given.genes), **found.settings}
    files = [given.model, *found.files]
    origin = provenance("express_cells.py", how, files, given.code, ("numpy", "torch"), **computed_on(device))
    write_table(given.output, table, origin)


if __name__ == "__main__":
    cli.run(main)
