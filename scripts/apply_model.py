"""Apply a trained model: what it predicts for each cell, or how well it does on cells that did not train it.

--task predict: one row per cell: cell_id, split, embedding, and whatever else the model says (labels, probabilities).
--task validate, --task test: one row per number (split, name, value, cells, reason) about the validation or test
cells: mean loss and its parts, what the embedding is like, and what the model adds. Of new cells all are taken.

The cells are those of --counts, the file that the model was trained on, or of --data, any file as in embed_cells.py.
"""

from __future__ import annotations

from pathlib import Path

from sclamp.core import cli


def main() -> None:
    """Parse, load, read, apply, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--task", choices=("predict", "validate", "test"), required=True, help="what to write")
    arguments.add_argument("--model", type=Path, required=True, help="model.pt of train_model.py")
    cli.add_cells(arguments)
    embedding = arguments.add_mutually_exclusive_group()
    embedding.add_argument("--embedding", type=Path, help="cell_embedding.parquet, for a model that reads one")
    embedding.add_argument("--embedding-model", type=Path, help="model.pt that makes this embedding of the cells")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet to write")
    arguments.add_argument("--seed", type=int, default=0, help="seed of what a model samples to measure itself")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    given = arguments.parse_args()
    settings = cli.read_cell_settings(given)

    from sclamp.core.files import write_table
    from sclamp.core.provenance import provenance
    from sclamp.data.batches import Batches
    from sclamp.train import apply
    from sclamp.train.apply_inputs import Asked, cells_of
    from sclamp.train.checkpoint import load_model
    from sclamp.train.computed import computed_on
    from sclamp.train.devices import lease_gpu, torch_device

    loaded = load_model(given.model)
    device = torch_device(given.device, lease_gpu(given.device))
    labels = given.task != "predict" and "labels" in loaded.model.wants()
    new = (given.data, settings, given.min_genes_share, labels)
    found = cells_of(Asked(given.model, given.counts, *new, given.embedding, given.embedding_model), loaded, device)
    model = loaded.model.to(device)
    batches = Batches(found.inputs, model.wants(), device)
    if given.task == "predict":
        table = apply.predict(model, batches)
    else:
        split = apply.NEW if given.data else apply.SPLITS[given.task]
        numbers = apply.measure(model, batches, split, given.seed)
        table = apply.numbers_table(split, numbers, len(found.inputs.rows(split)))
    how = {"task": given.task, "seed": given.seed, **found.settings}
    files = [given.model, *found.files]
    origin = provenance("apply_model.py", how, files, given.code, ("numpy", "torch"), **computed_on(device))
    write_table(given.output, table, origin)


if __name__ == "__main__":
    cli.run(main)
