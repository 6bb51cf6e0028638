"""How many threads a process computes with: as many as it is told, never as many as the machine happens to offer.

Sums over parts of a matrix, one part per thread, round differently for another number of threads.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from sclamp.core.errors import UserError

GIVEN = "SCLAMP_THREADS"
LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What libraries read when they are imported, so that it must be set before."""


def fix_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the libraries' threads to $SCLAMP_THREADS, else $OMP_NUM_THREADS, else 1; not fewer on a busy machine."""
    name = GIVEN if environment.get(GIVEN) else LIBRARIES[0]
    threads = environment.get(name) or "1"
    if not threads.isdecimal() or int(threads) < 1:
        raise UserError(f"{name}: a number of threads, 1 or more, is expected, found '{threads}'.")
    for library in LIBRARIES:
        environment[library] = threads
    environment.update({"OMP_DYNAMIC": "FALSE", "MKL_DYNAMIC": "FALSE"})
