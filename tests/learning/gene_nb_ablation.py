"""What each part of mode `gene_nb` is worth: one table over several seeds, with controls of the gene prior.

    python tests/learning/gene_nb_ablation.py --counts genes/described.h5ad --gene-prior text.parquet --table runs.csv

counts: a gene selection packed by select_genes.py, of a data set with batches and labels. gene-prior: a gene prior that
match_gene_prior.py matched to it. Each seed has its own split (70% training, 10% validation, 20% test cells, stratified
by label). Runs that the table already has are not trained again. A run takes about 30 s of one core on 1,200 cells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

VARIANTS: dict[str, dict[str, Any]] = {
    "gene_nb": {},
    "shuffled prior": {"prior": "shuffled"},
    "gaussian prior": {"prior": "gaussian"},
    "no prior (residual alone)": {"prior": "none"},
    "free weights, L2": {"prior": "none", "fixed": True},
    "scvi": {"mode": "scvi", "prior": "none"},
    "without residual": {"residual": "none"},
    "a residual variance per gene": {"residual": "gene"},
    "linear kernel": {"kernel": "linear"},
    "without batch bias": {"batch_bias": False},
    "adversary": {"alignment": "adversary"},
    "mmd": {"alignment": "mmd"},
    "mmd, batchwise norm": {"alignment": "mmd", "batchwise_encoder_norm": True},
}
SHARES = {"all_genes": 0.0, "left_out_genes": 0.1}
"""Share of the genes that a training never sees."""


def main() -> None:
    """Run what the table lacks, then print means and standard deviations over seeds."""
    given = _arguments()
    if given.one:
        print(json.dumps(run(given.counts, given.gene_prior, json.loads(given.one))))
        return
    table = pd.read_csv(given.table) if given.table.is_file() else pd.DataFrame(columns=["variant", "seed", "left_out"])
    known = {tuple(row) for row in table[["variant", "seed", "left_out"]].to_numpy().tolist()}
    asked = [
        {"variant": variant, "seed": seed, "left_out": share}
        for seed in range(given.seeds)
        for variant in given.variants
        for share in [SHARES[part] for part in given.parts]
        if not (share and VARIANTS[variant].get("prior") == "none")
    ]
    todo = [each for each in asked if (each["variant"], each["seed"], each["left_out"]) not in known]
    with ThreadPoolExecutor(given.jobs) as pool:
        for done in as_completed([pool.submit(_in_own_process, given, each) for each in todo]):
            table = pd.DataFrame([*table.to_dict("records"), done.result()])
            table.to_csv(given.table, index=False)
    print(summary(table))


def summary(table: pd.DataFrame) -> str:
    """Mean and standard deviation over seeds of each variant, one row each."""
    scores = table.drop(columns=["seed", "left_out"]).groupby("variant", sort=False)
    shown = scores.mean().round(3).astype(str) + " +- " + scores.std().round(3).astype(str)
    return shown.T.to_string()


def run(counts: Path, prior_path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Train and score one variant with one seed."""
    import torch

    from sclamp.config.registry import model_class, settings_class
    from sclamp.data.batches import Batches
    from sclamp.models.noise import seed_default_generator
    from sclamp.train.loop import Training

    torch.set_num_threads(1)
    seed, changes = asked["seed"], {**VARIANTS[asked["variant"]], **asked.get("changes", {})}
    kind, mode = changes.pop("prior", "true"), changes.pop("mode", "gene_nb")
    fixed = changes.pop("fixed", False)
    inputs, data, vectors, left = _data(counts, prior_path, kind, seed, asked["left_out"])
    if kind != "none":
        changes["gene_priors"] = ("text",)
    settings = settings_class(mode)(mode=mode, device="cpu", **changes)
    seed_default_generator("cpu", "initialise", seed)
    model = model_class(mode)(settings, data)
    if kind != "none":
        model.load_gene_priors({"text": torch.from_numpy(vectors[data.gene_ids])})
    if fixed:
        model._update = lambda settle: None
    batches = Batches(inputs, model.wants(), torch.device("cpu"))
    model.initialise(batches)
    start = time.process_time()
    history = Training(model, batches, settings, seed).run()
    best = next(row for row in history if row["is_best"])
    row = {"variant": asked["variant"], "seed": seed, "left_out": asked["left_out"]}
    row |= {"cpu_s": round(time.process_time() - start, 1), "epoch": best["epoch"], "val_loss": best["val_loss"]}
    row |= {name: best.get(name, np.nan) for name in ("prior_share", "residual_deviation")}
    with torch.no_grad():
        row |= _test_likelihood(model, batches)
        row |= _embedding_scores(model, batches, counts) if not asked["left_out"] else {}
        row |= _left_out_scores(model, batches, counts, vectors, left) if len(left) and kind != "none" else {}
    return row


class _Vectors:
    """Gene vectors by id."""

    def __init__(self, ids: Any, matrix: np.ndarray) -> None:
        self.where, self.matrix = {gene: i for i, gene in enumerate(ids)}, matrix

    def __getitem__(self, genes: Any) -> np.ndarray:
        return self.matrix[[self.where[gene] for gene in genes]]


def _data(counts: Path, prior_path: Path, kind: str, seed: int, share: float) -> Any:
    """Inputs under this seed's split, the description of the data, gene vectors, and the genes that are left out."""
    from sclamp.data.h5ad import read_cells
    from sclamp.data.inputs import describe, read_gene_priors
    from sclamp.priors import controls
    from sclamp.priors.left_out import left_out_genes

    ids, matrix = read_gene_priors({"text": prior_path})["text"]
    if kind in ("shuffled", "gaussian"):
        matrix = getattr(controls, kind)(matrix, seed)
    var = read_cells(counts).var
    left = np.zeros(len(var), bool)
    if share:
        left = left_out_genes(var.index.to_numpy(), var["lognorm_mean"].to_numpy(), share, seed)
    data = describe(counts, {"text": (ids, matrix)})
    if data.batch_columns == (0, 0):
        raise SystemExit(f"{counts}: does not say which covariate is the batch; prepare it anew with a `batch` column.")
    known = set(var.index[~left])
    kept = tuple(gene for gene in data.gene_ids if gene in known)
    data = replace(data, gene_ids=kept, gene_priors={} if kind == "none" else data.gene_priors)
    inputs = _inputs(counts, data, seed)
    data = replace(data, n_cells=len(inputs.rows("train")))
    return inputs, data, _Vectors(ids, matrix), var.index[left].to_numpy(dtype=object)


def _inputs(counts: Path, data: Any, seed: int) -> Any:
    """The data under a split of this seed, with its own statistics."""
    from sclamp.config.datasets import Dataset, Split
    from sclamp.data.h5ad import read_cells
    from sclamp.data.inputs import read_inputs
    from sclamp.data.splits import split_cells

    split = Split(strategy="stratified", val_share=0.1, test_share=0.2, seed=seed)
    obs = read_cells(counts).obs
    inputs = replace(
        read_inputs(counts, data),
        split=np.asarray(split_cells(obs, Dataset(path="x", label="label", split=split)).astype(str)),
    )
    train = _expression(inputs)[inputs.rows("train")]
    return replace(inputs, mean=train.mean(0), std=np.maximum(train.std(0), 1e-6))


def _expression(inputs: Any) -> np.ndarray:
    """Log-normalised expression of all cells, (cells, genes)."""
    return np.log1p(_counts(inputs) / np.maximum(inputs.library_size, 1)[:, None] * inputs.recipe.target_sum)


def _counts(inputs: Any) -> np.ndarray:
    from scipy import sparse

    stored = inputs.counts
    shape = (stored.n_cells, stored.n_genes)
    matrix = sparse.csr_matrix((stored.data, stored.indices, stored.indptr), shape).toarray().astype(np.float32)
    columns = np.empty(inputs.n_genes, np.int64)
    columns[inputs.columns[inputs.columns >= 0]] = np.flatnonzero(inputs.columns >= 0)
    return matrix[:, columns]


def _test_likelihood(model: Any, batches: Any) -> dict[str, float]:
    """Log-likelihood and ELBO of a test cell, at the posterior mean."""
    found = [(len(batch), model.loss(batch, _validation())) for batch in batches.batches("test")]
    n_cells = sum(n for n, _ in found)
    lost, kl = (sum(n * float(parts[name]) for n, parts in found) / n_cells for name in ("reconstruction", "kl_cells"))
    return {"test_log_likelihood": -lost, "test_elbo": -lost - kl}


def _validation() -> Any:
    from sclamp.types import Progress

    return Progress(0, 1, validation=True)


def _embedding_scores(model: Any, batches: Any, counts: Path) -> dict[str, float]:
    """Scores of the workflow's panel on all cells."""
    import torch

    from sclamp.config.evaluate import Evaluate
    from sclamp.evaluate import panel
    from sclamp.evaluate.aggregate import BATCH, BIO, aggregate
    from sclamp.evaluate.cells import cell_set
    from sclamp.evaluate.measure import measure_statistic

    inputs = batches.inputs
    cells = torch.cat([model.embed_cells(batch) for batch in batches.batches(None)]).numpy()
    z = np.clip((_expression(inputs) - inputs.mean) / inputs.std, -10, 10)
    axes = np.linalg.svd(z[inputs.rows("train")], full_matrices=False)[2][:50]
    known = cell_set(cells, inputs.batch, inputs.label, z @ axes.T, 90, Evaluate(bootstrap=0))
    measured = [
        measure_statistic(metric.name, "", partial(metric.compute, known))
        for metric in panel.METRICS
        if metric.name in BIO + BATCH
    ]
    measured += aggregate(measured) + panel.measure_across_batches(lambda: known)
    measured += panel.measure_held_out_probes(lambda: known, inputs.split == "train")
    names = ("total", "bio", "batch", "lobo_label_accuracy", "label_accuracy", "batch_accuracy")
    return {m.score.metric: m.score.value for m in measured if m.score.metric in names}


def _left_out_scores(model: Any, batches: Any, counts: Path, vectors: Any, left: np.ndarray) -> dict[str, float]:
    """Genes that the model never saw, as score_left_out_genes.py judges them, and the plain ridge regression."""
    import torch

    from sclamp.evaluate.left_out import EXPRESSED, baseline
    from sclamp.evaluate.ridge import correlations, mean_defined
    from sclamp.train.scale import comparable
    from sclamp.types import GeneStatistics

    inputs, genes = batches.inputs, model.data.gene_ids
    new = _inputs(counts, replace(model.data, gene_ids=tuple(left)), 0)
    new = replace(new, split=inputs.split)
    truth, test = _expression(new), inputs.rows("test")
    mean, std = truth[inputs.rows("train")].mean(0), truth[inputs.rows("train")].std(0) + 1e-6
    statistics = GeneStatistics(torch.from_numpy(mean), torch.from_numpy(std))
    predicted = []
    for batch in batches.batches("test"):
        found = model.predict_genes(batch, {"text": torch.from_numpy(vectors[left])})
        predicted.append(comparable(model, found, batch.library_size, statistics, inputs.recipe).numpy())
    z = np.clip((_expression(inputs) - inputs.mean) / inputs.std, -10, 10)
    ridge = baseline(z[test], z[inputs.rows("val")], vectors[genes], vectors[left])
    found = {"": np.concatenate(predicted), "ridge_": ridge}
    measured = np.clip((truth - mean) / std, -10, 10)[test]
    often = (_counts(new)[test] > 0).mean(0) > EXPRESSED
    row = {}
    found[""] -= found[""].mean(0)  # a count model does not know the mean of a new gene, to which z-scores refer
    for name, guess in found.items():
        each = correlations(measured, guess)
        row[f"{name}pearson_gene"], row[f"{name}pearson_gene_expressed"] = mean_defined(each), mean_defined(each[often])
        row[f"{name}pearson_cell"] = mean_defined(correlations(measured.T, guess.T))
    return row


def _in_own_process(given: argparse.Namespace, asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--counts", str(given.counts), "--gene-prior", str(given.gene_prior)]
    done = subprocess.run([*command, "--one", json.dumps(asked)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{asked}: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=Path, required=True)
    parser.add_argument("--gene-prior", type=Path, required=True)
    parser.add_argument("--table", type=Path, default=Path("gene_nb_ablation.csv"), help="CSV with one row per run")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--parts", nargs="+", choices=SHARES, default=list(SHARES), help="with all genes, or some left out"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
