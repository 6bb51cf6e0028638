"""leave_genes_out.py: which genes leave a gene prior, and what does not matter for that."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sclamp.core.files import provenance_of, read_embedding, read_table
from sclamp.priors.left_out import STRATUM, left_out_genes

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "leave_genes_out.py"
GENES = np.array([f"G{i:04d}" for i in range(1000)], dtype=object)
EXPRESSION = np.random.default_rng(0).gamma(0.5, 1.0, 1000)


@pytest.mark.parametrize("share", [0.2, 0.05, 0.013, 0.9])
def test_the_share_is_met_and_every_stratum_of_expression_gives_its_part(share: float) -> None:
    mask = left_out_genes(GENES, EXPRESSION, share, 1)
    assert mask.sum() == round(share * 1000)
    parts = mask[np.argsort(EXPRESSION)].reshape(-1, STRATUM).sum(1)
    assert np.ptp(parts) <= 1 + (share * STRATUM % 1 > 0)
    assert np.corrcoef(mask, EXPRESSION)[0, 1] == pytest.approx(0, abs=0.1)


def test_the_draw_ignores_the_order_of_genes_and_follows_the_seed() -> None:
    mask = left_out_genes(GENES, EXPRESSION, 0.2, 1)
    order = np.random.default_rng(1).permutation(1000)
    assert np.array_equal(left_out_genes(GENES[order], EXPRESSION[order], 0.2, 1), mask[order])
    other = left_out_genes(GENES, EXPRESSION, 0.2, 2)
    assert (mask & other).sum() == pytest.approx(40, abs=25)  # as many as chance would share
    tied = left_out_genes(GENES[order], np.zeros(1000), 0.2, 1)
    assert np.array_equal(tied, left_out_genes(GENES, np.zeros(1000), 0.2, 1)[order])


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    def call(prior: Path, counts: Path, share: float = 0.2, seed: int = 3, name: str = "out") -> tuple[int, str]:
        arguments = ["--gene-prior", prior, "--counts", counts, "--share", share, "--seed", seed]
        arguments += ["--output", tmp_path / f"{name}.parquet", "--code", "abc"]
        monkeypatch.setattr(sys, "argv", ["leave_genes_out.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capfd.readouterr().err

    return call


def test_all_priors_of_a_selection_lose_the_same_genes(
    run: Callable[..., Any], tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path], tmp_path: Path
) -> None:
    counts, genes = tiny_counts(), [f"G{i:04d}" for i in range(60)]
    text, protein = tiny_prior(genes), tiny_prior(genes[::-1][:50], width=3, name="protein")
    for prior, name in ((text, "one"), (protein, "two"), (text, "again")):
        status, said = run(prior, counts, name=name)
        assert status == 0
    assert "left out: 12 of 60 genes with a vector" in said
    before, vectors = read_embedding(text, "gene_id")
    one, kept = read_embedding(tmp_path / "one.parquet", "gene_id")
    gone = set(before) - set(one)
    assert len(gone) == 12
    assert np.array_equal(kept, vectors[[gene not in gone for gene in before]])  # the others stay, in their order
    two, _ = read_embedding(tmp_path / "two.parquet", "gene_id")
    assert set(two) == set(genes[::-1][:50]) - gone
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()
    origin = provenance_of(read_table(tmp_path / "one.parquet"))
    assert origin["settings"] == {"share": 0.2, "seed": 3} and origin["code"] == "abc"


def test_wrong_requests_are_refused(
    run: Callable[..., Any], tiny_counts: Callable[..., Path], tiny_prior: Callable[..., Path], tmp_path: Path
) -> None:
    counts, genes = tiny_counts(), [f"G{i:04d}" for i in range(60)]
    status, said = run(tiny_prior([*genes, "G0077"], name="foreign"), counts)
    assert status == 1
    assert "foreign.parquet: 1 of its 61 genes, such as 'G0077', are not among the 60 of --counts" in said
    status, said = run(tiny_prior(genes), counts, share=0.001)
    assert status == 1
    assert "--share: 0 of 60 genes are left out, which takes 0 of the 60 vectors of" in said
    status, said = run(tiny_prior(genes), counts, share=0.999)
    assert status == 1
    assert "60 of 60 genes are left out, which takes 60 of the 60 vectors of" in said
    for share in (0, 1, -0.5):
        status, said = run(tiny_prior(genes), counts, share=share)
        assert status == 2
        assert f"--share: {float(share)} is not between 0 and 1" in said
    assert not (tmp_path / "out.parquet").exists()
