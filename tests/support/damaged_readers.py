"""What the reading parts of long scripts do, for trials that need no more of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError


def history(path: str, result: str) -> None:
    """history.parquet as plot_training.py reads it."""
    from sclamp.plot.training import read_history

    found = read_history("one", path)
    _write(result, {name: [float(v) for v in values] for name, values in found.values.items()})


def checks(path: str, result: str) -> None:
    """checks.json as the report reads it."""
    from sclamp.report.datasets import read_findings

    found = read_findings(Path(path))
    if told := [f.message for f in found if path in f.message]:  # the report shows it among the problems
        raise UserError(*told)
    _write(result, [[f.check, f.level, f.message] for f in found])


def config(path: str, result: str) -> None:
    """A configuration, read from YAML as Snakemake reads it (a safe loader) and checked."""
    import yaml

    from sclamp.config.root import load

    try:
        raw = yaml.safe_load(Path(path).read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # Snakemake's to tell
        raise UserError(f"{path}: {' '.join(str(error).split())[:200]}") from error
    _write(result, {name: str(settings) for name, settings in load(raw).models.items()})


def table(path: str, result: str) -> None:
    """A table of genes, by its name, as the script that uses it reads it."""
    import pandas as pd
    from small_files import GENES

    from sclamp.config.gene_priors import TextPrior
    from sclamp.config.gene_selections import GeneSelection
    from sclamp.data.gene_lists import listed_ids
    from sclamp.evaluate.gene_markers import read_marker_list
    from sclamp.evaluate.gene_terms import read_terms
    from sclamp.priors.fasta import read_fasta
    from sclamp.priors.tables import read_pairs
    from sclamp.priors.text import read_descriptions

    symbols = pd.Series(GENES, index=GENES)
    readers = {
        "aliases": lambda: read_pairs(path, "alias", "symbol"),
        "descriptions": lambda: read_descriptions(TextPrior(source="text", table=path, id_column="symbol"))[1],
        "terms": lambda: read_terms(path, symbols).to_dict("list"),
        "markers": lambda: read_marker_list(path, symbols).to_dict("list"),
        "proteins": lambda: read_fasta(path, None),
        "genes": lambda: listed_ids(GeneSelection(flavor="list", file=path)),
    }
    _write(result, readers[Path(path).name.partition(".")[0]]())


def poisoned_training(epoch: int, *arguments: str) -> None:
    """A training in whose epoch `epoch` (from 0) a value of a batch is not a number: a read that went wrong."""
    import runpy
    import sys

    import torch
    from trial_worker import SCRIPTS

    from sclamp.data.batches import Batches
    from sclamp.train.loop import Training

    train_epoch, of, at = Training._train_epoch, Batches.of, [-1]

    def counted(self: Any) -> None:
        at[0] = self.standing.epoch
        train_epoch(self)
        at[0] = -1

    def poisoned(self: Any, plan: Any) -> Any:
        poison = at[0] == epoch
        for batch in of(self, plan):
            for name in ("counts", "log_counts", "lognorm", "scaled", "embedding"):
                value = getattr(batch, name, None)
                if poison and torch.is_tensor(value):
                    value.view(-1)[0] = float("nan")
            if poison and batch.entries is not None:
                batch.entries.count[0] = float("nan")
            yield batch

    Training._train_epoch, Batches.of = counted, poisoned  # type: ignore[method-assign]
    sys.argv = list(arguments)
    runpy.run_path(str(SCRIPTS / arguments[0]), run_name="__main__")


def interrupted_training(*arguments: str) -> None:
    """train_model.py, asked to stop at its third step."""
    import os
    import runpy
    import signal
    import sys

    from trial_worker import SCRIPTS

    from sclamp.train.loop import Training

    step, done = Training._step, []

    def stop_at_third(self: Any, *args: Any) -> None:
        step(self, *args)
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    Training._step = stop_at_third  # type: ignore[method-assign]
    sys.argv = list(arguments)
    runpy.run_path(str(SCRIPTS / arguments[0]), run_name="__main__")


def _write(path: str, value: Any) -> None:
    Path(path).write_text(json.dumps(value, default=str), encoding="utf-8")
