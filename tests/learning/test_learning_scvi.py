"""What mode scvi must learn on real data: one split of PBMC from three technologies, at its defaults.

Floors are what scvi-tools 1.4.2 reached on the same split, less its noise from seed to seed (see docs/scvi.md).
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

CELLS = Path(__file__).resolve().parents[3] / "shared" / "data" / "pbmc_symphony_3tech.h5ad"

pytestmark = [
    pytest.mark.learning,
    pytest.mark.xdist_group("learning"),
    pytest.mark.skipif(not CELLS.is_file(), reason="the PBMC data set does not ship with the repository"),
]


def test_scvi_is_as_good_as_scvi_tools():
    script = runpy.run_path(str(Path(__file__).with_name("scvi_side_by_side.py")))
    data = script["Data"](str(CELLS), 0)
    elbo, embedding, _ = script["ours"](data, 0)
    found = script["scores"](data, embedding)
    assert elbo >= -625
    assert found["total"] >= 0.71
    assert found["lobo_label_accuracy"] >= 0.91
