"""What starting a script costs: every job of the workflow pays it."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sclamp.digest import imports_of, tree_of

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = sorted(path.name for path in SCRIPTS.glob("*.py"))
HEAVY = {"torch", "sklearn", "scanpy", "umap", "numba", "transformers", "sentence_transformers", "lightning", "jax"}
# Scripts that compute with torch, and the heavy modules each may import; all others import none.
MAY_IMPORT = {
    "train_model.py": {"torch", "numba"},
    "launch_processes.py": {"torch"},
    "export_embeddings.py": {"torch", "numba"},
    "embed_cells.py": {"torch", "numba"},
    "apply_model.py": {"torch", "numba"},
    "express_cells.py": {"torch", "numba"},
    "score_left_out_genes.py": {"torch", "numba"},
    # Sums over many cells are compiled; few are added up without (sclamp.data.moments.COMPILED_ABOVE).
    "select_genes.py": {"numba"},
    "describe_genes.py": {"numba"},
    "describe_expression.py": {"numba"},
    # Reads the names of a prior's genes through the module that also opens checkpoints; it opens none.
    "check_dataset.py": {"torch"},
    "build_gene_prior.py": {"torch", "transformers", "sentence_transformers", "sklearn"},
}


def children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("name", NAMES)
def test_help_answers_within_a_cpu_second_and_imports_nothing_heavy(name):
    code = (
        "import sys, json, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as e: assert not e.code\n"
        "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    seconds = []
    for _ in range(3):  # the least of three: the machine may be busy with something else
        before = children_cpu_seconds()
        done = subprocess.run([sys.executable, "-c", code, SCRIPTS / name], capture_output=True, text=True, check=True)
        seconds.append(children_cpu_seconds() - before)
    assert set(json.loads(done.stdout.splitlines()[-1])) & HEAVY == set()
    assert min(seconds) < 1.0


def imported_names(name: str) -> set[str]:
    """Top-level modules that a script and all of ours that it reaches import when they run, at any depth."""
    found: set[str] = set()
    for path in [SCRIPTS / name, *(SCRIPTS.joinpath(*m.split(".")).with_suffix(".py") for m in imports_of(name))]:
        if path.is_file():
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_heavy_modules_only_where_they_are_needed(name):
    assert imported_names(name) & HEAVY <= MAY_IMPORT.get(name, set())
