"""Where new cells of a file that lacks genes of a model are put, with these genes read as unmeasured and as zero.

    python tests/learning/lacking_genes.py [FOLDER]

Models of the whole demo read its second library without a third of the genes. Printed: the mean distance of its cells
from where all genes put them, over the mean distance from their centre; and how often the 15 nearest cells of the
other libraries tell the cell type.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
from gene_panels import LIBRARIES, NEIGHBOURS, ROOT, chosen_genes, make_panels, run

MODES: dict[str, dict[str, Any]] = {"pca": {}, "beta_vae": {"max_epochs": 40}}


def placed(model: Path, data: Path, absent: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids and embedding of the cells of a file."""
    import torch

    from sclamp.config.datasets import Dataset
    from sclamp.data.batches import Batches
    from sclamp.data.sources import open_source
    from sclamp.train import embed
    from sclamp.train.checkpoint import load_model
    from sclamp.train.new_data import read_new_cells

    loaded, dataset = load_model(model), Dataset.model_validate({"path": str(data), "absent_genes": absent})
    with open_source(dataset) as source:
        inputs = read_new_cells(source, dataset, loaded.model.data, loaded.statistics, 0.5)
    return inputs.cell_ids, embed.embed_cells(loaded.model, Batches(inputs, loaded.model.wants(), torch.device("cpu")))


def main() -> None:
    """Train, place, compare."""
    from sklearn.neighbors import KNeighborsClassifier

    sys.path.insert(0, str(ROOT / "scripts"))
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/lacking_genes")
    folder.mkdir(parents=True, exist_ok=True)
    make_panels(folder, 0.33, None, seed=0)
    chosen_genes(folder, None)
    whole = anndata.read_h5ad(folder / "whole.h5ad")
    whole.write_h5ad(folder / "same.h5ad")
    label = whole.obs["label"].astype(str)
    others = (whole.obs["library"] != LIBRARIES[1]).to_numpy()
    for mode, settings in MODES.items():
        model, history = folder / f"{mode}.pt", folder / f"{mode}.parquet"
        files = ["--counts", folder / "whole_genes.h5ad", "--model", model, "--history", history, "--seed", 1]
        run("train_model.py", *files, mode=mode, genes="hvg", **settings)
        ids, full = placed(model, folder / "same.h5ad", "zero")
        vote = KNeighborsClassifier(NEIGHBOURS).fit(full[others], label[ids[others]])
        for absent in ("unmeasured", "zero"):
            new, z = placed(model, folder / f"{LIBRARIES[1]}.h5ad", absent)
            known = np.isin(new, ids)
            there = full[[list(ids).index(cell) for cell in new[known]]]
            moved = np.linalg.norm(z[known] - there, axis=1).mean()
            moved /= np.linalg.norm(there - there.mean(0), axis=1).mean()
            print(f"{mode} {absent}: moved {moved:.3f}, types {vote.score(z[known], label[new[known]]):.3f}")


if __name__ == "__main__":
    main()
