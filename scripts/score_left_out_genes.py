"""Score how well a model predicts genes that it never saw, from their gene priors alone, on test cells.

The model was trained with gene priors of which leave_genes_out.py took some vectors; the whole priors are given here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sclamp.core import cli

if TYPE_CHECKING:
    from sclamp.evaluate.left_out import Prediction


def main() -> None:
    """Parse, load, predict, score, write."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help="model.pt trained without these genes")
    arguments.add_argument("--counts", type=Path, required=True, help="genes/SELECTION.h5ad of the whole selection")
    arguments.add_argument(
        "--gene-prior", action="extend", nargs="+", default=[], type=named_path, metavar="NAME=PATH",
        help="whole matched gene priors",
    )  # fmt: skip
    arguments.add_argument("--dataset", required=True, help="name for the score table")
    arguments.add_argument("--model-name", required=True, help="name for the score table")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the run, for the score table")
    arguments.add_argument("--output", type=Path, required=True, help="scores/left_out_genes.parquet")
    arguments.add_argument("--genes", type=Path, required=True, help="left_out/genes.parquet: one row per gene")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to compute")
    arguments.add_argument("--code", default="", help="digest of the code, kept as provenance")
    given = arguments.parse_args()
    paths = dict(given.gene_prior)
    if len(paths) < len(given.gene_prior):
        arguments.error("argument --gene-prior: a name is given twice")

    from sclamp.core.files import write_table
    from sclamp.core.provenance import provenance
    from sclamp.data.inputs import read_gene_priors
    from sclamp.evaluate.left_out import gene_columns, score_left_out
    from sclamp.evaluate.rows import write_scores
    from sclamp.train.checkpoint import load_model
    from sclamp.train.computed import computed_on
    from sclamp.train.devices import lease_gpu, torch_device

    loaded, priors = load_model(given.model), read_gene_priors(paths)
    device = torch_device(given.device, lease_gpu(given.device))
    found, why_not = prediction(loaded, given.counts, priors, device)

    files = (given.model, given.counts, *paths.values())
    origin = provenance("score_left_out_genes.py", {}, files, given.code, ("numpy", "torch"), **computed_on(device))
    rows = score_left_out(found, why_not)
    write_scores(given.output, given.dataset, given.model_name, given.seed, rows, origin)
    write_table(given.genes, gene_columns(found), origin)


def prediction(loaded: Any, counts: Path, priors: Any, device: Any) -> tuple[Prediction | None, str]:
    """What the model and the baseline predict, or why there is nothing."""
    from sclamp.data.h5ad import read_cells
    from sclamp.evaluate.left_out import Prediction, baseline
    from sclamp.train.left_out import predict_left_out, prior_vectors, unseen_genes

    model = loaded.model
    cannot = f"mode '{model.settings.mode}' cannot predict genes that it was not trained on"
    if not model.data.gene_priors:
        return None, f"{cannot}: it reads no gene prior"
    genes = unseen_genes(model, priors, read_cells(counts).var.index.to_numpy(dtype=object))
    if not len(genes):
        return None, "the model was trained on every gene that has a vector; no gene was left out"
    own = prior_vectors(model, priors, model.data.gene_ids)
    new = prior_vectors(model, priors, genes)
    found = predict_left_out(loaded, counts, priors, genes, device)
    if not len(found.known):
        return None, "there are no test cells"
    if found.predicted is None:
        return None, cannot
    ridge = baseline(found.known, found.tuning, own, new)
    return Prediction(genes, found.truth, found.predicted, found.mean, found.expressed, ridge), ""


def named_path(text: str) -> tuple[str, Path]:
    """Read one NAME=PATH."""
    name, path = cli.name_and_path(text)
    if not name or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return name, Path(path)


if __name__ == "__main__":
    cli.run(main)
