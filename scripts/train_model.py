"""Train one model on one dataset with one seed.

Reads the packed counts of a gene selection and the gene priors matched to it; writes model.pt and history.parquet. A
killed training leaves resume.pt beside the model, and the same command goes on from there. Several processes share one
training under `torchrun --nproc-per-node N scripts/train_model.py ...`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sclamp.core import cli
from sclamp.core.errors import UserError, unknown


def main() -> None:
    """Parse, read the settings, train."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--modes", action="store_true", help="list the registered modes, one a line, and exit")
    arguments.add_argument("--counts", type=Path, help="genes/SELECTION.h5ad of select_genes.py")
    arguments.add_argument(
        "--gene-prior", action="extend", nargs="+", default=[], metavar="NAME=PATH", help="matched gene priors"
    )
    arguments.add_argument("--embedding", type=Path, help="cell_embedding.parquet by the model of `embedding_of`")
    arguments.add_argument("--warm-start", type=Path, help="model.pt whose parameters are taken over")
    arguments.add_argument("--seed", type=int, default=0, help="seed of initialisation, order, noise and dropout")
    arguments.add_argument("--model", type=Path, help="model.pt to write; resume.pt lies beside it")
    arguments.add_argument("--history", type=Path, help="history.parquet to write")
    cli.add_settings(arguments, "settings of the model, `mode` among them")
    given = arguments.parse_args()
    if given.modes:
        from sclamp.config.registry import MODES

        print(*MODES, sep="\n")
        return
    if absent := [f"--{name}" for name in ("counts", "model", "history") if getattr(given, name) is None]:
        arguments.error(f"the following arguments are required: {', '.join(absent)}")
    settings = model_settings(cli.read_settings(given.settings))
    priors = named_paths(given.gene_prior)

    from sclamp.train.run import Run, train

    files = (given.counts, given.model, given.history, priors, given.warm_start, given.code, given.embedding)
    train(Run(settings, given.seed, *files))


def model_settings(values: dict[str, Any]) -> Any:
    """Validate the settings of the mode that they name; all problems at once."""
    from sclamp.config.parse import parsed
    from sclamp.config.registry import MODES, settings_class

    mode = values.get("mode")
    if not isinstance(mode, str) or mode not in MODES:
        raise UserError("--settings.mode: is missing." if mode is None else unknown("mode", str(mode), MODES))
    return parsed(settings_class(mode), values)


def named_paths(texts: list[str]) -> dict[str, Path]:
    """Read NAME=PATH arguments."""
    problems, paths = [], {}
    for text in texts:
        name, path = cli.name_and_path(text)
        if not name or not path:
            problems.append(f"--gene-prior: '{text}' is not NAME=PATH.")
        elif name in paths:
            problems.append(f"--gene-prior: '{name}' is given twice.")
        paths[name] = Path(path)
    if problems:
        raise UserError(*problems)
    return paths


if __name__ == "__main__":
    cli.run(main)
