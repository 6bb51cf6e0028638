"""Claim: a configuration of 3 datasets x 10 models x 5 seeds is parsed in less than 3 seconds.

Measured is what a user waits for before anything is planned: `snakemake --list` in a folder of its own, the start of
Python and Snakemake included, in CPU seconds (median of rounds; the anchor is 3 s). Printed beside it: the dry run of
one score table and of everything, and the largest `--help` of all scripts.

python tests/performance/parse_time.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import measure

GOAL_SECONDS = 3.0
N_DATASETS, SEEDS = 3, [1, 2, 3, 4, 5]


def main() -> None:
    """Write the configuration, time what reads it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"parse_time, {measure.hardware()}")
    largest = max((help_seconds(script), script.name) for script in sorted((measure.ROOT / "scripts").glob("*.py")))
    print(f"  --help of scripts: at most {largest[0]:.2f} CPU s ({largest[1]})")
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder))
        one = "results/datasets/set0/models/pca/seed_1/scores/integration.parquet"
        for name, arguments in {"one score table": [one], "everything": []}.items():
            seconds = snakemake(folder, "--dry-run", "--quiet", "all", "--", *arguments)
            print(f"  dry run of {name}: {seconds:.2f} CPU s", flush=True)
        bare = statistics.median(start_seconds() for _ in range(3))
        seconds = [snakemake(folder, "--list") for _ in range(options.rounds)]
    middle = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f} in {options.rounds} rounds"
    print(f"  snakemake --list: {middle:.2f} CPU s ({spread}), of which `import snakemake.cli` {bare:.2f}")
    sys.exit(not measure.verdict("parse_time", GOAL_SECONDS / middle, 1))


def write_project(folder: Path) -> None:
    """A configuration with ten models, and empty files where it names data."""
    priors = {"vectors": {"source": "file", "path": "vectors.csv"}, "shuffled": {"source": "shuffled", "of": "vectors"}}
    models = {
        "pca": {"mode": "pca"},
        "harmony": {"mode": "harmony"},
        "beta_vae": {"mode": "beta_vae", "grid": {"latent_dim": [10, 20, 50]}},
        "direct": {"mode": "direct", "gene_priors": ["vectors"]},
        "direct_shuffled": {"mode": "direct", "gene_priors": ["shuffled"]},
        "direct_gamma": {"mode": "direct", "gene_priors": ["vectors"], "gamma": 0.0},
        "stepwise": {"mode": "stepwise", "gene_priors": ["vectors"]},
        "self_informed": {"mode": "self_informed"},
    }
    names = [f"set{i}" for i in range(N_DATASETS)]
    config = {
        "datasets": {name: {"path": f"{name}.h5ad", "label": "kind", "batch": "donor"} for name in names},
        "gene_priors": priors,
        "models": models,
        "seeds": SEEDS,
    }
    for name in [*(f"{name}.h5ad" for name in names), "vectors.csv"]:
        (folder / name).touch()
    (folder / "mine.yaml").write_text(json.dumps(config), encoding="utf-8")


def snakemake(folder: str, *arguments: str) -> float:
    """CPU seconds of a call of Snakemake."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(measure.ROOT / "Snakefile")]
    command += ["--directory", folder, "--configfile", str(Path(folder) / "mine.yaml"), "--cores", "1"]
    return measure.cpu_seconds([*command, *arguments])


def start_seconds() -> float:
    """CPU seconds that importing Snakemake alone takes."""
    return measure.cpu_seconds([sys.executable, "-c", "import snakemake.cli"])


def help_seconds(script: Path) -> float:
    """CPU seconds of `--help`, the better of two calls: the first may compile."""
    return min(measure.cpu_seconds([sys.executable, str(script), "--help"]) for _ in range(2))


if __name__ == "__main__":
    main()
