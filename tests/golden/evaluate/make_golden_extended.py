"""Reference values of scores beyond the standard panel, by scib 1.1.7, scib-metrics 0.5.10, scanpy 1.11, scgraph-eval.

    python tests/golden/evaluate/make_golden_extended.py FOLDER

Writes FOLDER/graphs.npz (of the inputs in mixed.npz, apart.npz and pancreas.npz) and FOLDER/expression.npz (made-up
counts). scib's search for shortest paths is a C++ program that its wheel ships for newer systems only; here it is
compiled from the source in the same wheel, which needs g++. scgraph-eval 0.1.2 is not in the test environment: where it
is absent, its value is taken from the file beside this script.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from make_golden import GRAPH_K, neighbours

HERE = Path(__file__).parent
CASES = ("mixed", "apart", "pancreas")
KBET_K = 50


def graph_of(points: np.ndarray, size: int):
    """scib-metrics' neighbours, the cell itself first."""
    from scib_metrics.nearest_neighbors import NeighborsResults

    indices, distances = neighbours(points)
    itself = np.arange(len(points), dtype="i4")[:, None]
    near, at = np.hstack([itself, indices]), np.hstack([np.zeros_like(itself, "f4"), distances])
    return NeighborsResults(indices=near[:, :size], distances=at[:, :size])


def kbet(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The test on given neighbours; the score; and that of each label alone.

    The number of diffusion components is cut to the size of a small label, and stays cut for all labels after it; a
    label among cells that are each a label of their own, too small to count, is scored as documented.
    """
    import scib_metrics as sm

    graph, labels = graph_of(case["after"], KBET_K), case["labels"]
    rate, statistics, p_values = sm.kbet(graph, case["batches"])
    alone = []
    for label in np.unique(labels):
        apart = np.where(labels == label, -1, np.arange(len(labels)))
        by_label = sm.kbet_per_label(graph, case["batches"], apart, return_df=True)[1]
        alone.append(float(by_label["kBET"].to_numpy(float)[0]))
    return {"kbet_rate": rate, "kbet_statistics": statistics, "kbet_p": p_values, "kbet_alone": alone,
            "kbet": sm.kbet_per_label(graph, case["batches"], labels)}  # fmt: skip


def graph_lisi(case: dict[str, np.ndarray], program: Path) -> dict[str, np.ndarray]:
    """Shortest paths of scib and its LISI of them, cell by cell."""
    import scib
    from scib.metrics.lisi import compute_simpson_index_graph
    from scipy.io import mmwrite

    connectivities = graph_of(case["after"], GRAPH_K).knn_graph_connectivities.tocsr()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        matrix, prefix = f"{folder}/input.mtx", f"{folder}/lisi"
        mmwrite(matrix, connectivities, symmetry="general")
        subprocess.run([program, matrix, prefix, "90", "1", "100"], check=True)
        for groups in ("batches", "labels"):
            n_groups = len(np.unique(case[groups]))
            found[f"graph_lisi_{groups}"] = 1 / compute_simpson_index_graph(prefix, case[groups], n_groups, 90, 30)
    assert scib.__version__ == "1.1.7"
    return found


def trajectory(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Conservation by scib of a pseudotime that follows the first dimension before correction; some cells have none."""
    import anndata
    import pandas as pd
    import scib

    obs = pd.DataFrame({"label": case["labels"].astype(str)}).astype("category")
    pseudotime = case["before"][:, 0].astype(float) - case["before"][:, 0].min()
    pseudotime[::13] = np.nan
    data = anndata.AnnData(case["after"], obs=obs)
    data.obsp["connectivities"] = graph_of(case["after"], GRAPH_K).knn_graph_connectivities.tocsr()
    data.obsp["distances"] = data.obsp["connectivities"]
    data.uns["neighbors"] = {"connectivities_key": "connectivities", "distances_key": "distances",
                             "params": {"n_neighbors": GRAPH_K, "method": "umap"}}  # fmt: skip
    before = data.copy()
    before.obs["dpt_pseudotime"] = pseudotime
    score = scib.me.trajectory_conservation(before, data, "label")
    return {"pseudotime": pseudotime, "trajectory": score}


def made_up_counts() -> dict[str, np.ndarray]:
    """240 cells of four labels in two batches, 300 genes with those of the cell cycle among them."""
    from scib.preprocessing import get_cell_cycle_genes

    rng = np.random.default_rng(5)
    cycle = get_cell_cycle_genes("mouse")
    symbols = np.array([*cycle["gene_name"], *(f"Gene{i}" for i in range(300 - len(cycle)))], dtype=str)
    symbols = symbols[rng.permutation(300)]
    labels, batches, phase = rng.integers(4, size=240), rng.integers(2, size=240), rng.integers(3, size=240)
    level = rng.normal(size=300) + 0.7 * rng.normal(size=(4, 300))[labels] + 0.4 * rng.normal(size=(2, 300))[batches]
    for number, name in enumerate(("S", "G2/M"), start=1):
        level[np.ix_(phase == number, np.isin(symbols, cycle["gene_name"][cycle["phase"] == name]))] += 1.0
    return {"counts": rng.poisson(np.exp(level - 0.3)).clip(0, 255).astype("u1"), "symbols": symbols,
            "labels": labels, "batches": batches}  # fmt: skip


def of_expression(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cell cycle, Moran's I, scGraph of an embedding: 20 principal components, the batches' means half removed."""
    import anndata
    import pandas as pd
    import scanpy
    import scib

    counts = case["counts"].astype(float)
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    obs = pd.DataFrame({"label": case["labels"].astype(str), "batch": case["batches"].astype(str)}).astype("category")
    data = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=case["symbols"]))
    centred = values - values.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    embedding = (left * singular)[:, :20]
    for batch in range(2):
        embedding[case["batches"] == batch] -= embedding[case["batches"] == batch].mean(axis=0) / 2
    embedding = embedding.astype("f4")
    data.obsm["X_emb"] = embedding
    table = scib.me.cell_cycle(data, data, "batch", embed="X_emb", agg_func=None, organism="mouse")
    scores = np.empty((240, 2))
    for batch in ("0", "1"):
        part = data[data.obs["batch"] == batch].copy()
        scib.pp.score_cell_cycle(part, organism="mouse")
        scores[(data.obs["batch"] == batch).to_numpy()] = part.obs[["S_score", "G2M_score"]].to_numpy()
    graph = graph_of(embedding, GRAPH_K).knn_graph_connectivities.tocsr()
    table = table.sort_values("batch")
    return {"embedding": embedding, "cycle": scores, "before": table["before"].to_numpy(float),
            "after": table["after"].to_numpy(float), "cell_cycle": table["score"].mean(),
            "morans": scanpy.metrics.morans_i(graph.astype(float), values.T), "scgraph": of_scgraph(data)}  # fmt: skip


def of_scgraph(data) -> float:
    """Corr-Weighted of scgraph-eval."""
    try:
        from scgraph import scGraph
    except ImportError:
        return np.load(HERE / "expression.npz")["scgraph"]
    judge = object.__new__(scGraph)
    judge.trim_rate, judge.thres_batch, judge.thres_celltype, judge.only_umap = 0.05, 100, 10, False
    judge.ignore_celltype, judge._collect_pca_, judge.concensus_df_pca = [], {}, None
    judge.adata, judge.batch_key, judge.label_key = data, "batch", "label"
    return float(judge.main(["X_emb"])["Corr-Weighted"].iloc[0])


def main() -> None:
    """Compute and write everything."""
    import scib

    warnings.simplefilter("ignore")  # of the reference packages
    folder = Path(sys.argv[1])
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as build:
        source, program = Path(scib.__file__).parent / "knn_graph" / "knn_graph.cpp", Path(build) / "knn_graph"
        subprocess.run(["g++", "-std=c++11", "-O2", source, "-o", program], check=True)
        for name in CASES:
            case = dict(np.load(HERE / f"{name}.npz"))
            values = {**kbet(case), **graph_lisi(case, program), **trajectory(case)}
            found |= {f"{name}_{key}": np.asarray(value) for key, value in values.items()}
    np.savez_compressed(folder / "graphs.npz", **found)
    case = made_up_counts()
    np.savez_compressed(folder / "expression.npz", **case, **of_expression(case))


if __name__ == "__main__":
    main()
