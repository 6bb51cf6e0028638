"""The gene map keeps neighbours together, and copes with genes that are alike."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from sclamp.plot import genes
from sclamp.plot.style import PALETTE


def test_groups_of_similar_genes_lie_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 50)
    embedding = 5 * np.eye(4, 10)[group] + rng.normal(scale=0.5, size=(200, 10))
    embedding *= rng.uniform(0.1, 10, (200, 1))  # cosine neighbours: lengths do not count
    at = genes.layout(embedding)
    distance = np.linalg.norm(at[:, None] - at[None], axis=2) + np.diag(np.full(200, np.inf))
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.97
    np.testing.assert_array_equal(at, genes.layout(embedding))


def test_identical_vectors_and_few_genes() -> None:
    assert np.isfinite(genes.layout(np.vstack([np.ones((30, 4)), np.eye(4)]))).all()
    assert genes.layout(np.eye(3)).shape == (3, 2)
    assert np.isfinite(genes.layout(np.zeros((20, 3)))).all()
    assert genes.layout(np.random.default_rng(0).normal(size=(30, 1))).shape == (30, 2)


def test_a_cell_type_has_the_colour_of_the_cells_maps() -> None:
    symbols = pd.Series({f"g{i}": f"S{i}" for i in range(20)})
    found = pd.DataFrame({"cell_type": ["delta", "extra"], "gene_id": ["g1", "g2"], "rank": [1, 1]})
    at = np.random.default_rng(0).normal(size=(20, 2))
    figure = genes.draw(at, symbols, found, ["alpha", "beta", "delta"], 3, "title")
    marks = figure.axes[0].collections[1].get_facecolors()
    assert [to_hex(c).upper() for c in marks] == [PALETTE[2], PALETTE[3]]
