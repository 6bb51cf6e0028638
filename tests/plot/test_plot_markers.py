"""Markers are the genes with the largest difference in mean log-normalised expression, on training cells only."""

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from sclamp.core.errors import UserError
from sclamp.plot import markers


def test_markers_equal_a_dense_computation(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts(n_cells=200, n_genes=40)
    data = ad.read_h5ad(path)
    x = pd.DataFrame(data.X.toarray(), columns=data.var_names, index=data.obs_names)
    lognorm = np.log1p(x.div(data.obs["library_size"], axis=0) * 1e4)[data.obs["split"] == "train"]
    label = data.obs["label"][data.obs["split"] == "train"].astype(str)
    expected: dict[str, tuple[str, float]] = {}
    for gene in lognorm:
        found = []
        for kind in sorted(set(label)):
            inside, outside = lognorm.loc[label == kind, gene], lognorm.loc[label != kind, gene]
            if (inside > 0).mean() >= 0.25:
                found.append((inside.mean() - outside.mean(), kind))
        if found and max(found)[0] > 0.25:
            expected[gene] = (max(found)[1], max(found)[0])
    table = markers.find_markers(path, per_type=100)
    assert {r.gene_id: r.cell_type for r in table.itertuples()} == {g: kind for g, (kind, _) in expected.items()}
    np.testing.assert_allclose(table["difference"], [expected[g][1] for g in table["gene_id"]], rtol=1e-5)
    for _, own in table.groupby("cell_type"):
        assert list(own["rank"]) == list(range(1, len(own) + 1))
        assert (np.diff(own["difference"]) <= 0).all()
    assert markers.find_markers(path, per_type=2).groupby("cell_type").size().max() == 2


def test_cell_types_come_in_the_order_of_the_cells_maps(tiny_counts: Callable[..., Path]) -> None:
    assert markers.cell_types(tiny_counts()) == ["alpha", "beta", "delta"]


def test_without_labels_there_are_no_markers(tiny_counts: Callable[..., Path]) -> None:
    path = tiny_counts()
    data = ad.read_h5ad(path)
    del data.obs["label"]
    data.write_h5ad(path)
    assert markers.find_markers(path, 3).empty
    assert markers.cell_types(path) == []


def test_a_given_table_is_matched_by_symbol_or_id_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "markers.tsv"
    path.write_text("cell_type\tgene\nbeta\tins\nbeta\tNOT_HERE\nbeta\tIAPP\nalpha\tENSG1\n")
    symbols = pd.Series({"ENSG1": "GCG", "ENSG2": "INS", "ENSG3": "IAPP"})
    table = markers.read_markers(path, symbols, per_type=5)
    assert table[["cell_type", "gene_id", "rank"]].to_numpy().tolist() == [
        ["beta", "ENSG2", 1], ["beta", "ENSG3", 2], ["alpha", "ENSG1", 1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type\tgene\na\tb\n", "column 'cell_type' does not exist"),
        ("cell_type\tgene\nbeta\tXYZ\n", "none of its genes is among the 1 genes of the map"),
    ],
)
def test_a_bad_table_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "markers.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        markers.read_markers(path, pd.Series({"g": "INS"}), 3)
    with pytest.raises(UserError, match=r"nowhere\.tsv: no such file"):
        markers.read_markers(tmp_path / "nowhere.tsv", pd.Series({"g": "INS"}), 3)
