"""A small project in a temporary folder, for tests that run the workflow itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import yaml

ROOT = Path(__file__).resolve().parents[2]
N_CELLS, N_GENES = 240, 120


def make_dataset(path: Path, seed: int) -> None:
    """Counts of three cell types in two batches, each type with its own genes."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, N_CELLS)
    batches = rng.integers(0, 2, N_CELLS)
    rate = rng.gamma(2.0, 1.0, N_GENES)
    rates = np.tile(rate, (N_CELLS, 1))
    for kind in range(3):
        rates[np.ix_(kinds == kind, np.arange(kind * 20, kind * 20 + 20))] *= 6
    rates[batches == 1, 80:] *= 1.6
    counts = rng.poisson(rates).astype(np.float32)
    cells = anndata.AnnData(
        scipy.sparse.csr_matrix(counts),
        obs=pd.DataFrame(
            {"kind": pd.Categorical([f"type_{k}" for k in kinds]), "donor": pd.Categorical([f"d{b}" for b in batches])},
            index=[f"cell_{i}" for i in range(N_CELLS)],
        ),
        var=pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)]),
    )
    cells.write_h5ad(path)


def small_config(**more):
    small = {"max_epochs": 3, "hidden_dims": [16, 8], "latent_dim": 4, "epochs_before_beta_warmup": 0}
    config = {
        "datasets": {"one": {"path": "one.h5ad", "label": "kind", "batch": "donor"}},
        "gene_selections": {"hvg": {"n_genes": 80}},
        "gene_priors": {"vectors": {"source": "file", "path": "vectors.csv", "id_column": "gene"}},
        "model_defaults": small,
        "models": {
            "pca": {"mode": "pca", "latent_dim": 10},
            "beta_vae": {"mode": "beta_vae"},
            "direct": {"mode": "direct", "gene_priors": ["vectors"], "prior_controls": ["shuffled"]},
        },
        "evaluate": {
            "controls": ["pca", "random", "shuffled", "label_onehot", "batch_onehot"],
            "resolutions": [0.5, 1.0],
            "neighbors": 30,
            "bootstrap": 20,
            "left_out_genes": 0.2,
        },
        "seeds": [1],
        "resources": {"threads": 1},
    }
    return config | more


class Project:
    """A copy of the workflow with its own data, and ways to change it and to ask what would run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def snakemake(self, *arguments, config=None, check=True):
        """Run Snakemake in the project and return its output."""
        if config is not None:
            (self.folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "2", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output[-6000:]
        return output

    def jobs(self, *arguments, config=None):
        """(rule, wildcards) of each job that a dry run names, without the target rules."""
        output = self.snakemake("--dry-run", *arguments, config=config or small_config())
        found = set()
        for block in re.split(r"\n(?=(?:local)?rule \w+:)", output)[1:]:
            rule = re.match(r"(?:local)?rule (\w+):", block)[1]
            wildcards = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
            if rule not in {"all", "models", "scores", "checks"}:
                found.add((rule, wildcards[1] if wildcards else ""))
        return found


def copy_project(folder: Path) -> Project:
    for name in ("Snakefile", "workflow", "scripts", "profiles", "envs", "config.yaml"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__", "demo")
        shutil.copytree(source, folder / name, ignore=ignore) if source.is_dir() else shutil.copy(source, folder / name)
    make_dataset(folder / "one.h5ad", seed=0)
    make_dataset(folder / "two.h5ad", seed=1)
    vectors = pd.DataFrame(np.random.default_rng(2).normal(size=(N_GENES, 8)).round(4))
    vectors.insert(0, "gene", [f"GENE{i}" for i in range(N_GENES)])
    vectors.to_csv(folder / "vectors.csv", index=False)
    return Project(folder)
