"""Mode scvi and scvi-tools on the same cells: same genes, splits, epochs and network; ELBO and scores of both.

Needs an environment with scvi-tools next to what the workflow needs. Writes one row per model, split and quantity.

    python tests/learning/scvi_side_by_side.py --cells pbmc_symphony_3tech.h5ad --output side_by_side.tsv

With a gene prior (Parquet of build_gene_prior.py), mode scvi on its genes with it, with its rows shuffled, and without:

    python tests/learning/scvi_side_by_side.py --cells ... --gene-prior text.parquet --output prior.tsv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

SPLIT = {"val_share": 0.1, "test_share": 0.2}
DRAWS = 20
"""Samples of each cell's posterior behind its ELBO."""
METRICS = ("bio", "batch", "total", "lobo_label_accuracy")


class Data:
    """Cells with their split; genes seen in at least three cells, and only those of a gene prior where one is given."""

    def __init__(
        self, path: str, seed: int, prior: str | None = None, batch: str = "batch", label: str = "cell_type"
    ) -> None:
        import anndata

        from sclamp.config.datasets import Dataset
        from sclamp.core.files import read_embedding
        from sclamp.data.splits import split_cells

        adata = anndata.read_h5ad(path)
        adata = adata[:, np.asarray((adata.X > 0).sum(0)).ravel() >= 3].copy()
        self.prior: np.ndarray | None = None
        if prior is not None:
            ids, vectors = read_embedding(prior, "gene_id")
            where = {gene: i for i, gene in enumerate(ids)}
            adata = adata[:, [gene in where for gene in adata.var_names]].copy()
            self.prior = vectors[[where[gene] for gene in adata.var_names]]
        dataset = Dataset.model_validate(
            {"path": path, "batch": batch, "label": label, "split": SPLIT | {"seed": seed}}
        )
        self.split = np.asarray(split_cells(adata.obs, dataset).astype(str), dtype=object)
        self.adata, self.batch = adata, batch
        self.batches, self.labels = (pd.Categorical(adata.obs[name].astype(str)) for name in (batch, label))

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def inputs(self) -> tuple[Any, Any]:
        """What our training reads: (Inputs, DataSpec)."""
        from sclamp.data.inputs import Counts, Inputs
        from sclamp.types import Covariates, DataSpec, Recipe

        x = self.adata.X.tocsr()
        g = x.shape[1]
        names = tuple(map(str, self.batches.categories))
        spec = DataSpec(
            tuple(map(str, self.adata.var_names)), names, tuple(map(str, self.labels.categories)),
            Covariates(categorical={self.batch: names}), batch_columns=(0, len(names)), n_cells=len(self.rows("train")),
        )  # fmt: skip
        covariates = np.eye(len(names), dtype=np.float32)[self.batches.codes]
        counts = Counts(x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data.astype(np.float32), g)
        library = np.asarray(x.sum(1)).ravel().astype(np.float32)
        plain = np.zeros(g, np.float32), np.ones(g, np.float32)
        found = Inputs(
            counts=counts, columns=np.arange(g), n_genes=g, cell_ids=self.adata.obs_names.to_numpy(object),
            split=self.split, library_size=library, covariates=covariates, batch=self.batches.codes.astype(np.int64),
            label=self.labels.codes.astype(np.int64), mean=plain[0], std=plain[1], recipe=Recipe(),
        )  # fmt: skip
        return found, spec


def trained(data: Data, seed: int, prior: np.ndarray | None = None, **settings: Any) -> tuple[Any, Any, str]:
    """Mode scvi after training, its batches, how it went. prior: (genes of the data, width)."""
    from dataclasses import replace

    import torch

    from sclamp.config.scvi import SCVISettings
    from sclamp.data.batches import Batches
    from sclamp.models.noise import seed_default_generator
    from sclamp.models.scvi import SCVI
    from sclamp.train.loop import Training

    inputs, spec = data.inputs()
    if prior is not None:
        spec = replace(spec, gene_priors={"prior": prior.shape[1]})
    seed_default_generator("cpu", "initialise", seed)
    chosen = SCVISettings(**settings)
    model = SCVI(chosen, spec)
    if prior is not None:
        model.load_gene_priors({"prior": torch.from_numpy(prior.copy())})
    batches = Batches(inputs, model.wants(), torch.device("cpu"))
    history = Training(model, batches, chosen, seed).run()
    best = next(row["epoch"] for row in history if row["is_best"])
    return model.eval(), batches, f"epoch {best} of {len(history)}"


def ours(data: Data, seed: int, prior: np.ndarray | None = None, **settings: Any) -> tuple[float, np.ndarray, str]:
    """Train mode scvi: ELBO per validation cell, embedding of all cells, how it went."""
    import torch

    from sclamp.models.noise import Noise
    from sclamp.types import Progress

    model, batches, how = trained(data, seed, prior, **settings)
    with torch.no_grad():
        embedding = torch.cat([model.embed_cells(batch) for batch in batches.batches(None)]).numpy()
        losses = []
        for draw in range(DRAWS):
            for batch in batches.batches("val"):
                batch.noise = Noise(7, draw, 0, len(batch))
                parts = model.loss(batch, Progress(0, 1, validation=True))
                losses.append(float(parts["reconstruction"] + parts["kl_cells"]) * len(batch))
    return -sum(losses) / DRAWS / len(data.rows("val")), embedding, how


def left_out(path: str, prior: str, seed: int) -> dict[str, float]:
    """Pearson per gene, on test cells, of a tenth of the genes that training never saw: mean over genes.

    For the true and for a shuffled prior; often: genes seen in more than a fifth of the cells.
    """
    import torch

    data, rng = Data(path, seed, prior), np.random.default_rng(seed)
    vectors, n = data.prior, data.adata.n_vars
    assert vectors is not None
    out = np.sort(rng.choice(n, n // 10, replace=False))
    keep = np.setdiff1d(np.arange(n), out)
    counts, rows = np.asarray(data.adata.X.todense()), data.rows("test")
    library = counts[:, keep].sum(1, keepdims=True)
    truth = np.log1p(counts[:, out] / library * 1e4)[rows]
    often, found = (counts[:, out] > 0).mean(0) > 0.2, {}
    data.adata = data.adata[:, keep].copy()
    for name, order in (("true", np.arange(n)), ("shuffled", rng.permutation(n))):
        model, batches, _ = trained(data, seed, vectors[order[keep]], max_epochs=120)
        new = {"prior": torch.from_numpy(vectors[order[out]])}
        with torch.no_grad():
            predicted = torch.cat([model.predict_genes(batch, new) for batch in batches.batches("test")]).numpy()
        pairs = zip(np.log1p(predicted / library[rows] * 1e4).T, truth.T, strict=True)
        pearson = np.array([np.corrcoef(x, y)[0, 1] if y.std() > 0 else np.nan for x, y in pairs])
        found |= {name: float(np.nanmean(pearson)), f"{name}, often": float(np.nanmean(pearson[often]))}
    return found


def theirs(data: Data, seed: int, epochs: int, **more: Any) -> tuple[float, np.ndarray, str]:
    """Train scvi-tools' SCVI with the same network for as many epochs."""
    import scvi

    scvi.settings.seed = seed
    scvi.settings.verbosity = 40
    adata = data.adata.copy()
    scvi.model.SCVI.setup_anndata(adata, batch_key=data.batch)
    model = scvi.model.SCVI(adata, gene_likelihood="nb")
    model.train(
        max_epochs=epochs,
        datasplitter_kwargs={"external_indexing": [data.rows(split) for split in ("train", "val", "test")]},
        enable_progress_bar=False,
        logger=False,
        **more,
    )
    model.module.eval()
    values = [float(model.get_elbo(indices=data.rows("val"), return_mean=True)) for _ in range(DRAWS)]
    return -abs(float(np.mean(values))), model.get_latent_representation(), f"{epochs} epochs"


def scores(data: Data, embedding: np.ndarray) -> dict[str, float]:
    """Scores of the workflow's panel, all cells."""
    from sclamp.config.evaluate import Evaluate
    from sclamp.evaluate.annotation import Annotation
    from sclamp.evaluate.integration import score_embedding
    from sclamp.evaluate.neighbors import find_neighbors

    settings = Evaluate(bootstrap=0)
    annotation = Annotation(
        data.batches.codes.astype(np.int64), data.labels.codes.astype(np.int64), data.split != "train",
        tuple(map(str, data.batches.categories)), tuple(map(str, data.labels.categories)),
    )  # fmt: skip
    embedding = np.ascontiguousarray(embedding, np.float32)
    neighbors = find_neighbors(embedding, settings.neighbors)
    found = score_embedding(embedding, annotation, neighbors, principal_components(data), settings)
    return {
        row.score.metric: row.score.value for row in found.rows if row.cells == "all" and row.score.metric in METRICS
    }


def principal_components(data: Data) -> np.ndarray:
    """PCA of scaled log-normalised expression, which scores of batch mixing start from."""
    x = np.asarray(data.adata.X.todense(), np.float64)
    y = np.log1p(x / x.sum(1, keepdims=True) * 1e4)
    z = np.clip((y - y.mean(0)) / np.where(y.std(0) > 0, y.std(0), 1), -10, 10)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    return (u[:, :50] * s[:50]).astype(np.float32)


Train = Callable[[Data, int], tuple[float, np.ndarray, str]]


def side_by_side(epochs: int) -> dict[str, Train]:
    """scvi-tools, mode scvi with its network and epochs, and mode scvi as it comes."""
    same = {"max_epochs": epochs, "patience": epochs, "learning_rate_decay": 1.0, "covariate_layers": "hidden"}
    return {
        "scvi-tools": lambda data, seed: theirs(data, seed, epochs, plan_kwargs={"n_epochs_kl_warmup": 50}),
        "scvi, same network": lambda data, seed: ours(data, seed, **same, kl_warmup_epochs=50),
        "scvi, defaults": lambda data, seed: ours(data, seed),
    }


def priors(epochs: int) -> dict[str, Train]:
    """Mode scvi with free weights, and with weights that follow a gene prior or one whose rows were dealt anew."""

    def with_prior(role: str, shuffled: bool) -> Train:
        def train(data: Data, seed: int) -> tuple[float, np.ndarray, str]:
            vectors = data.prior
            assert vectors is not None, "given on the command line"
            order = np.random.default_rng(seed).permutation(len(vectors))
            return ours(data, seed, vectors[order] if shuffled else vectors, prior_role=role, max_epochs=epochs)

        return train

    return {
        "no prior": lambda data, seed: ours(data, seed, max_epochs=epochs),
        "decoder, true prior": with_prior("decoder", False),
        "decoder, shuffled prior": with_prior("decoder", True),
        "decoder_init, true prior": with_prior("decoder_init", False),
    }


def main() -> None:
    """Parse, train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--gene-prior")
    parser.add_argument("--left-out", action="store_true", help="predict genes never trained on, by --gene-prior")
    given = parser.parse_args()
    if given.left_out:
        found = {seed: left_out(given.cells, given.gene_prior, seed) for seed in given.seeds}
        pd.DataFrame(found).T.rename_axis("seed").to_csv(given.output, sep="\t")
        return
    rows = []
    for seed in given.seeds:
        data = Data(given.cells, seed, given.gene_prior)
        for name, train in (priors if given.gene_prior else side_by_side)(given.epochs).items():
            elbo, embedding, how = train(data, seed)
            found = {"elbo": elbo, **scores(data, embedding)}
            rows += [{"model": name, "seed": seed, "quantity": key, "value": value} for key, value in found.items()]
            print(name, seed, how, {key: round(value, 4) for key, value in found.items()}, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(given.output, sep="\t", index=False)
    print(table.pivot_table(index="model", columns="quantity", values="value", aggfunc=["mean", "std"]).round(4))


if __name__ == "__main__":
    main()
