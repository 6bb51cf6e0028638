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
