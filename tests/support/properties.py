"""How many examples property-based tests try: few in the usual suite, more where all trials are asked for."""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, settings

WHOLE = "--all-trials" in sys.argv
EXAMPLES = settings(
    max_examples=400 if WHOLE else 15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Without limits of time, which a busy machine would break; the same examples each time."""
