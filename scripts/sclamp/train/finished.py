"""A training that has finished on a cluster is not made again because the workflow does not know of it.

Where Snakemake dies, the jobs of the cluster go on. Started again, it removes what they have made in the meantime and
asks for it anew. So a job on a cluster keeps its finished files a second time, as hard links in a hidden folder beside
them, and the next one takes them from there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sclamp.core.files import sha256, write_json

SCHEDULERS = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "KUBERNETES_SERVICE_HOST")
"""Environment variables that jobs of a cluster have."""


def on_cluster(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a job of a scheduler."""
    return any(name in environment for name in SCHEDULERS)


def keep(files: Sequence[Path]) -> None:
    """Keep finished files, all of one folder, where Snakemake does not remove them; costs no space.

    On a file system without hard links nothing is kept.
    """
    kept = _place(files)
    shutil.rmtree(kept, ignore_errors=True)
    try:
        kept.mkdir()
        for file in files:
            os.link(file, kept / file.name)
        write_json(kept / "sha256.json", {file.name: sha256(file) for file in files})
    except OSError:
        shutil.rmtree(kept, ignore_errors=True)


def bring_back(files: Sequence[Path]) -> bool:
    """Put kept files where they were; False where there are none, or where one is damaged."""
    kept = _place(files)
    try:
        digests = json.loads((kept / "sha256.json").read_text(encoding="utf-8"))
        if any(digests[file.name] != sha256(kept / file.name) for file in files):
            return False
        for file in files:
            file.unlink(missing_ok=True)
            os.link(kept / file.name, file)
    except (OSError, ValueError, KeyError):
        return False
    return True


def _place(files: Sequence[Path]) -> Path:
    return files[0].with_name(f".finished.{files[0].name}")
