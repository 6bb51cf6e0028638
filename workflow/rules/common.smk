"""The plan, names of files, and how scripts are called. Reads: config. Writes: nothing."""

import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from sclamp.core.errors import UserError
from sclamp.digest import code_of
from sclamp.paths import Paths
from sclamp.resources import memory, minutes
from sclamp.workflow import as_json, one_of, options, plan, report_plan

try:
    PLAN = plan(config)
    PATHS = Paths(PLAN)
    if problems := PATHS.missing_files():
        raise UserError(*problems)
except UserError as error:
    raise WorkflowError(
        f"The configuration has {len(error.problems)} problem(s):\n{error}"
    ) from None

DATASET, RUN, OUT = PATHS.dataset, PATHS.run, PATHS.out

# A rule's conda environment brings its own python; otherwise scripts run under the python that runs Snakemake.
PYTHON = (
    "python"
    if "conda" in str(workflow.deployment_settings.deployment_method).lower()
    else shlex.quote(sys.executable)
)
SCRIPTS = os.path.relpath(Path(workflow.basedir) / "scripts")
LAUNCH = (
    PYTHON
    if PLAN.resources.gpus < 2
    else f"{PYTHON} {shlex.quote(SCRIPTS)}/launch_processes.py --processes {PLAN.resources.gpus}"
)
# Not in a rule's parameters: a look at a training is no reason to repeat it.
TENSORBOARD = "SCLAMP_TENSORBOARD=1 " if PLAN.resources.tensorboard else ""
REPORT_TEMPLATE = os.path.relpath(
    Path(workflow.basedir) / "workflow/report/report.html.j2"
)


wildcard_constraints:
    dataset="[^/]+",
    selection="[^/]+",
    gene_prior="[^/]+",
    model="[^/]+",
    control="[a-z_]+",
    seed=r"\d+",
