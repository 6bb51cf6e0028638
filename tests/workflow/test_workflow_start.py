"""Configurations that the README and the page for newcomers show are whole and right as they stand."""

import re
from pathlib import Path

import pytest
import yaml

from sclamp.paths import Paths
from sclamp.workflow import plan

ROOT = Path(__file__).resolve().parents[2]
DATASET = {"datasets": {"mine": {"path": "atlas.h5ad"}}}


def shown(page):
    """The YAML blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_the_first_configuration_is_whole(page):
    config = shown(page)[0]
    made = plan(config)
    assert made.output == "results/mine"  # apart from the demo's
    assert {"pca", "harmony", "gene_nb"} <= set(made.models)
    assert Paths(made).missing_files() == ["datasets.mine.path: 'atlas.h5ad' does not exist."]


def test_the_gene_priors_of_the_page_are_right():
    config = DATASET | shown("docs/start.md")[1]
    made = plan(config)
    assert {prior.source for prior in made.gene_priors.values()} >= {"file", "text"}
    assert list(made.model("gene_nb").gene_priors) == ["table"]


def test_quoted_messages_are_those_of_the_check():
    """What the page says that the check says, it says."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts/sclamp").rglob("*.py"))
    for words in (
        "does not hold counts", "it looks", "Counts seem to be in", "and no symbols", "does not exist",
        "estimated from reads or corrected, set fractions: round", "have fewer than", "is it a measurement",
        "name a var column with unique ids as gene_ids",
    ):  # fmt: skip
        assert words in code
