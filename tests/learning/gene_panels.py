"""What unmeasured genes cost, measured on the demo: two of its three libraries lose a third of their genes each.

    python tests/learning/gene_panels.py --prior results/gene_priors/text.parquet --modes beta_vae scvi

prints the tables of docs/panels.md: genes that a panel lacks, predicted in its cells and compared with the counts that
were taken away, and embeddings, each with unmeasured genes as such, read as zero, and left out (join: inner).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "workflow/demo/pancreas.h5ad"
LIBRARIES = ("human1_lib1", "human1_lib2", "human1_lib3")
WAYS: dict[str, dict[str, str]] = {
    "unmeasured": {"join": "outer"},
    "zero": {"join": "outer", "absent_genes": "zero"},
    "shared genes only": {"join": "inner"},
}
NEIGHBOURS = 15


def make_panels(folder: Path, lost: float, complete: int | None, seed: int) -> dict[str, np.ndarray]:
    """Write a file per library; all but the first lack a share of the genes. Returns the genes that each has.

    complete: number of cells that are kept of the first.
    """
    data, rng, genes = anndata.read_h5ad(DEMO), np.random.default_rng(seed), {}
    for i, name in enumerate(LIBRARIES):
        has = np.ones(data.n_vars, dtype=bool)
        if i:
            has[rng.choice(data.n_vars, round(lost * data.n_vars), replace=False)] = False
        genes[name] = data.var_names[has].to_numpy(dtype=object)
        cells = rng.permutation(np.flatnonzero(data.obs["library"] == name))
        data[np.sort(cells if i else cells[:complete]), has].write_h5ad(folder / f"{name}.h5ad")
    return genes


def run(script: str, *arguments: object, **settings: Any) -> None:
    """Run one of the scripts; its messages are shown when it fails."""
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    if settings:
        command += ["--settings", json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def prepare(folder: Path, out: Path, genes: list[str], way: dict[str, str]) -> Path:
    """Prepare the files and pack these genes."""
    out.mkdir(exist_ok=True)
    paths = [str(folder / f"{name}.h5ad") for name in LIBRARIES]
    run("prepare_cells.py", "--output", out / "cells.h5ad", path=paths, label="cell_type", batch="file", **way)
    arguments = ["--cells", out / "cells.h5ad", "--table", out / "genes.parquet", "--counts", out / "genes.h5ad"]
    listed = out / "genes.txt"
    listed.write_text("\n".join(genes) + "\n")
    run("select_genes.py", *arguments, flavor="list", file=str(listed))
    return out / "genes.h5ad"


def matched_prior(counts: Path, prior: Path, control: str, seed: int) -> Path:
    """The gene prior of the selection, its vectors dealt out anew where `control` is "shuffled"."""
    out, matched = counts.parent, counts.parent / "text.parquet"
    common = ["--genes", out / "genes.parquet", "--counts", counts, "--report", out / "match.json"]
    run("match_gene_prior.py", *common, "--prior", prior, "--output", matched, source="text", table="-")
    if control != "shuffled":
        return matched
    control_file = out / f"shuffled_{seed}.parquet"
    shuffled = {"source": "shuffled", "of": "text", "seed": seed}
    run("match_gene_prior.py", *common, "--of", matched, "--output", control_file, **shuffled)
    return control_file


def train(counts: Path, prior: Path | None, name: str, mode: str, seed: int, epochs: int) -> Path:
    """Train, unless it was done before, with a matched gene prior or none. Returns model.pt."""
    model = counts.parent / f"{mode}_{name}_{seed}_{epochs}.pt"
    if model.exists():
        return model
    settings: dict[str, Any] = {"mode": mode, "max_epochs": epochs, "genes": "list"}
    files = ["--counts", counts, "--model", model, "--history", model.with_suffix(".parquet"), "--seed", seed]
    if prior is not None:
        settings["gene_priors"] = ["text"]
        files += ["--gene-prior", f"text={prior}"]
    run("train_model.py", *files, **settings)
    return model


def never_measured(
    counts: Path, prior: Path, name: str, mode: str, seed: int, epochs: int, share: float
) -> dict[str, float]:
    """Scores of genes that no panel has: a training without their vectors, and their prediction from these alone."""
    out = counts.parent
    less, scores = out / f"less_{name}_{seed}.parquet", out / "left_out.parquet"
    run(
        "leave_genes_out.py",
        "--gene-prior",
        prior,
        "--counts",
        counts,
        "--share",
        share,
        "--seed",
        seed,
        "--output",
        less,
    )
    model = train(counts, less, f"{name}_less", mode, seed, epochs)
    named = ["--dataset", "panels", "--model-name", mode, "--seed", seed]
    files = ["--model", model, "--counts", counts, "--gene-prior", f"text={prior}"]
    run("score_left_out_genes.py", *files, *named, "--output", scores, "--genes", out / "left_out_genes.parquet")
    table = pd.read_parquet(scores).set_index("metric")["value"]
    kept = ("pearson_gene", "pearson_gene_expressed", "pearson_cell", "ridge_pearson_gene", "mse", "mse_of_mean")
    return {f"never_{metric}": float(table[metric]) for metric in kept}


def of_model(path: Path, counts: Path) -> tuple[np.ndarray, np.ndarray]:
    """Embedding of all cells, and their reconstruction as log-normalised expression."""
    import torch

    from sclamp.data.batches import Batches
    from sclamp.train import embed
    from sclamp.train.checkpoint import load_model

    loaded = load_model(path)
    inputs = embed.inputs_of(loaded, counts)
    batches = Batches(inputs, loaded.model.wants(), torch.device("cpu"))
    parts = []
    with torch.no_grad():
        for batch in batches.batches(None):
            found = loaded.model.reconstruct(batch)
            if "scaled" in loaded.model.wants():
                parts.append(found * batches.statistics.std + batches.statistics.mean)
            else:
                parts.append((found / batch.library_size.unsqueeze(1) * inputs.recipe.target_sum).log1p())
    return embed.embed_cells(loaded.model, batches), torch.cat(parts).numpy()


def lognorm(genes: list[str], obs: pd.DataFrame) -> np.ndarray:
    """The demo's own expression of these genes, per 10,000 counts of the cell's panel."""
    data = anndata.read_h5ad(DEMO)
    cells = [cell.removesuffix(f"-{file}") for cell, file in zip(obs.index, obs["file"], strict=True)]
    counts = data[cells, genes].X.toarray().astype(np.float64)
    return np.log1p(counts / obs["library_size"].to_numpy()[:, None] * 1e4)


def agreement(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean over genes of Pearson's correlation (0 for a constant prediction) and of the root mean squared error."""
    x, y = found - found.mean(0), truth - truth.mean(0)
    scale = np.sqrt((x * x).sum(0) * (y * y).sum(0))
    pearson = np.divide((x * y).sum(0), scale, out=np.zeros(len(scale)), where=scale > 1e-9)
    return float(pearson.mean()), float(np.sqrt(np.square(found - truth).mean(0)).mean())


def judged(obs: pd.DataFrame, genes: list[str], has: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """Panel -> its cells, and the genes it lacks that at least 5% of these cells express."""
    places = {}
    for name in LIBRARIES[1:]:
        cells = np.flatnonzero(obs["file"] == name)
        lacks = ~np.isin(genes, has[name]) & ((truth[cells] > 0).mean(0) >= 0.05)
        places[name] = np.ix_(cells, np.flatnonzero(lacks))
    return places


def neighbours_prediction(obs: pd.DataFrame, truth: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Mean of the nearest cells of the complete library, by the 50 leading components of the genes that all have."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    z = PCA(50, random_state=0).fit_transform(truth[:, shared])
    donors = np.flatnonzero(obs["file"] == LIBRARIES[0])
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(z[donors]).kneighbors(z, return_distance=False)
    return truth[donors][near].mean(1)


def of_embedding(z: np.ndarray, obs: pd.DataFrame) -> tuple[float, float]:
    """Cell types of one library told by the neighbours in the others; library told by the neighbours (want: .36)."""
    from sklearn.neighbors import KNeighborsClassifier

    label, file, right = obs["label"].astype(str).to_numpy(), obs["file"].astype(str).to_numpy(), []
    for name in LIBRARIES:
        there = file == name
        right.append(KNeighborsClassifier(NEIGHBOURS).fit(z[~there], label[~there]).score(z[there], label[there]))
    near = KNeighborsClassifier(NEIGHBOURS + 1).fit(z, file).kneighbors(z, return_distance=False)[:, 1:]
    votes = pd.DataFrame(file[near]).mode(axis=1)[0].to_numpy()
    return float(np.mean(right)), float((votes == file).mean())


def main() -> None:
    """Train what is asked for and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, default=Path("results/panels"), help="where to work")
    arguments.add_argument("--prior", type=Path, help="gene prior of all genes, for modes with a gene side")
    arguments.add_argument("--modes", nargs="+", default=["beta_vae", "scvi"])
    arguments.add_argument("--ways", nargs="+", default=list(WAYS))
    arguments.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--lost", type=float, default=0.33, help="share of genes that the other libraries lose")
    arguments.add_argument("--complete", type=int, help="cells of the library with all genes; all of them by default")
    arguments.add_argument("--left-out", type=float, help="also leave out this share of the genes from all panels")
    given = arguments.parse_args()
    sys.path.insert(0, str(ROOT / "scripts"))
    given.folder.mkdir(parents=True, exist_ok=True)
    has = make_panels(given.folder, given.lost, given.complete, seed=0)
    genes = chosen_genes(given.folder, given.prior)
    rows = [row for way in given.ways for row in rows_of(given, way, genes, has)]
    table = pd.DataFrame(rows).groupby(["model", "way"], sort=False).agg(["mean", "std"])
    print(table.drop(columns="seed", level=0).round(3).to_string())


def chosen_genes(folder: Path, prior: Path | None) -> list[str]:
    """The 1,000 most variable genes of the whole demo, as far as a prior knows them: all comparisons are about them."""
    run("prepare_cells.py", "--output", folder / "whole.h5ad", path=str(DEMO), batch="library", label="cell_type")
    table = folder / "whole.parquet"
    arguments = ["--cells", folder / "whole.h5ad", "--table", table, "--counts", folder / "whole_genes.h5ad"]
    run("select_genes.py", *arguments, flavor="seurat_v3", n_genes=1000)
    frame = pd.read_parquet(table)
    known = frame["gene_id"] if prior is None else pd.read_parquet(prior)["gene_id"]
    return list(frame.loc[frame["selected"] & frame["gene_id"].isin(known), "gene_id"])


def rows_of(given: argparse.Namespace, way: str, genes: list[str], has: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """One row per model and seed."""
    shared = [gene for gene in genes if all(gene in set(ids) for ids in has.values())]
    counts = prepare(
        given.folder, given.folder / way.replace(" ", "_"), shared if "shared" in way else genes, WAYS[way]
    )
    packed, rows = anndata.read_h5ad(counts), []
    obs, read = packed.obs.assign(file=packed.obs["file"].astype(str)), list(packed.var_names)
    judges = way != "shared genes only"
    truth = lognorm(read, obs)
    places = judged(obs, read, has, truth)
    if way == "unmeasured":
        known = ~np.array([[g not in set(has[f]) for g in read] for f in LIBRARIES])
        mask = known[pd.Index(LIBRARIES).get_indexer(obs["file"])]
        mean = np.ma.array(truth, mask=~mask).mean(0).filled(0)
        near = neighbours_prediction(obs, truth, known.all(0))
        for name, found in (("mean of the gene", np.tile(mean, (len(obs), 1))), ("nearest cells", near)):
            rows.append({"model": name, "way": "", "seed": 0, **predicted(found, truth, places)})
    for mode in given.modes:
        controls = ("true", "shuffled") if "gene" in mode or mode == "direct" else ("",)
        for control in controls:
            for seed in given.seeds:
                prior = matched_prior(counts, given.prior, control, seed) if control else None
                model = train(counts, prior, control, mode, seed, given.epochs)
                z, found = of_model(model, counts)
                accuracy, batch = of_embedding(z, obs)
                row = {"model": f"{mode} {control}".strip(), "way": way, "seed": seed}
                values = predicted(found, truth, places) if judges else {}
                if prior is not None and given.left_out:
                    values |= never_measured(counts, prior, control, mode, seed, given.epochs, given.left_out)
                rows.append({**row, **values, "types_across": accuracy, "library_told": batch})
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def predicted(found: np.ndarray, truth: np.ndarray, places: dict[str, Any]) -> dict[str, float]:
    """Agreement on the genes that panels lack, mean over panels."""
    values = np.array([agreement(found[where], truth[where]) for where in places.values()]).mean(0)
    return {"pearson": float(values[0]), "rmse": float(values[1])}


if __name__ == "__main__":
    main()
