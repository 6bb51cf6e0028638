"""HDF5, YAML, JSON and text made to do harm: nothing outside is read, nothing hangs, nothing runs."""

from __future__ import annotations

import gzip
import json

import h5py
import numpy as np
import pytest
from small_files import GENES, N_CELLS, settings, vectors, write_h5ad
from trial_worker import worker

pytestmark = pytest.mark.xdist_group("trial worker")
KIND = "hostile file"


def count(trials, what, outcome, named, secret="", may_succeed=False):
    """A trial is survived when it ends in a message that names the file, and shows nothing of the secret."""
    why = outcome.death
    if not why and secret and secret in outcome.said:
        why = "the message shows another file"
    if not why and outcome.status and (outcome.status != 1 or named not in outcome.said):
        why = f"status {outcome.status}: {outcome.said[-400:]}"
    if not why and not outcome.status and not may_succeed:
        why = "it was read"
    if why:
        trials.lost(KIND, what, why)
    else:
        trials.survived(KIND, f"{what}: {outcome.said.strip().splitlines()[-1][:150] if outcome.said else 'read'}")


def external_link(file, secret):
    del file["X"]
    file["X"] = h5py.ExternalLink(str(secret), "/X")


def external_column(file, secret):
    del file["obs/age"]
    file["obs/age"] = h5py.ExternalLink(str(secret), "/obs/age")


def external_storage(file, secret):
    del file["X/data"]
    file["X"].create_dataset("data", (8,), "u1", external=[(str(secret), 0, 8)])


def virtual(file, secret):
    layout = h5py.VirtualLayout(shape=(N_CELLS,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "obs/age", shape=(N_CELLS,))
    del file["obs/age"]
    file["obs"].create_virtual_dataset("age", layout)


def circle_of_soft_links(file, secret):
    del file["obs"]
    file["obs"] = h5py.SoftLink("/raw_obs")
    file["raw_obs"] = h5py.SoftLink("/obs")


def group_in_itself(file, secret):
    file["obs/again"] = file["obs"]
    file["uns/again"] = file["/"]


def huge_contiguous(file, secret):
    del file["obs/age"]
    file["obs"].create_dataset("age", (1 << 42,), "f8")


def huge_chunked(file, secret):
    del file["X/indptr"]
    file["X"].create_dataset("indptr", (1 << 36,), "i8", chunks=(1 << 16,), fillvalue=7)


def huge_chunk(file, secret):
    del file["X/data"]
    file["X"].create_dataset("data", (1 << 31,), "u1", chunks=(1 << 31,), compression="gzip")


def gzip_bomb(file, secret):
    del file["obs/age"]
    file["obs"].create_dataset("age", data=np.zeros(30_000_000), compression="gzip", chunks=(1_000_000,))


def huge_shape(file, secret):
    file["X"].attrs["shape"] = np.array([1 << 60, 1 << 60])


def negative_shape(file, secret):
    file["X"].attrs["shape"] = np.array([-5, -5])


def falling_pointers(file, secret):
    file["X/indptr"][5] = 1_000_000


def indices_outside(file, secret):
    file["X/indices"][3] = -7


def references(file, secret):
    del file["obs/age"]
    file["obs"].create_dataset("age", data=[file["X"].ref] * N_CELLS, dtype=h5py.ref_dtype)


def compound_counts(file, secret):
    del file["X/data"]
    file["X"]["data"] = np.zeros(file["X/indices"].shape, [("a", "f4"), ("b", "S8")])


def ragged_counts(file, secret):
    del file["X/data"]
    file["X"].create_dataset("data", file["X/indices"].shape, h5py.vlen_dtype(np.int32))


def pickled_attribute(file, secret):
    file["obs"].attrs["encoding-type"] = "pickle"
    file["obs"].attrs["pickle"] = np.void(b"cos\nsystem\n(Vtouch " + str(secret).encode() + b".ran\ntR.")


def old_anndata(file, secret):
    del file["obs"]
    file["obs"] = np.zeros(N_CELLS, [("index", "S8"), ("kind", "i1")])


def opaque_names(file, secret):
    del file["var/_index"]
    file["var"]["_index"] = np.array([b"\xff\xfe%03d" % i for i in range(len(GENES))])


H5 = [
    external_link, external_column, external_storage, virtual, circle_of_soft_links, group_in_itself, huge_contiguous,
    huge_chunked, huge_chunk, gzip_bomb, huge_shape, negative_shape, falling_pointers, indices_outside, references,
    compound_counts, ragged_counts, pickled_attribute, old_anndata, opaque_names,
]  # fmt: skip


def test_hdf5(trials, tmp_path):
    secret = write_h5ad(tmp_path / "secret.h5ad", "csr")
    for spoil in H5:
        path = write_h5ad(tmp_path / "user.h5ad", "csr")
        with h5py.File(path, "r+") as file:
            spoil(file, secret)
        given = ["--settings", settings(path, covariates={"continuous": ["age"]}), "--output", tmp_path / "cells.h5ad"]
        outcome = worker().script("prepare_cells.py", *given, seconds=30)
        harmless = spoil in {group_in_itself, pickled_attribute, huge_shape, negative_shape}
        count(trials, f"h5ad, {spoil.__name__}", outcome, "user.h5ad", may_succeed=harmless)
        assert not (tmp_path / "secret.h5ad.ran").exists()


def _laughs(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return "\n".join(lines)


def yaml_files(canary):
    good = "datasets: {one: {path: one.h5ad}}\nmodels: {pca: {mode: pca}}\n"
    return {
        "python tag": f"datasets: !!python/object/apply:os.system ['touch {canary}']\nmodels: {{}}\n",
        "python name": good + "title: !!python/name:os.system\n",
        "python module": good + "title: !!python/module:os\n",
        "billion laughs": _laughs(12) + "\ndatasets: *a11\nmodels: *a11\n",
        "billion laughs in a grid": _laughs(12) + "\nmodels: {m: {mode: pca, grid: *a11}}\ndatasets: {}\n",
        "billion laughs in settings": _laughs(12) + "\nmodels: {m: {mode: *a11, genes: *a11}}\ndatasets: {}\n",
        "circle": "models: &m {m: {mode: *m}}\ndatasets: *m\n",
        "deep": "title: " + "[" * 20_000 + "\n",
        "deep in order": "title: " + "{a: " * 300 + "1" + "}" * 300 + "\n",
        "no mapping": "- 1\n- 2\n",
        "unprintable": "title: \x07\n",
        "not text": "title: é\n".encode("latin1"),
        "a number of digits": good + "seeds: [" + "9" * 6000 + "]\n",
        "strange keys": "? [1, 2]\n: 3\n" + good,
        "numbers as keys": "1: 2\nnull: 3\n" + good,
        "two documents": good + "---\n" + good,
        "merged twice": "x: &x {mode: pca}\nmodels: {m: {<<: [*x, *x]}}\ndatasets: {d: {path: a}}\n",
        "endless line": "title: " + "x" * 200_000 + "\n",
        "infinite numbers": good.replace("pca}", "beta_vae, learning_rate: .inf, beta: .nan}"),
    }


def test_yaml(trials, tmp_path):
    canary = tmp_path / "canary"
    for name, content in yaml_files(canary).items():
        path = tmp_path / "config.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        outcome = worker().call("damaged_readers:config", str(path), str(tmp_path / "o.json"), seconds=20)
        count(trials, f"config.yaml, {name}", outcome, "", may_succeed=True)
        assert not canary.exists() and "pydantic" not in outcome.said


def texts():
    wide = "gene_id," + ",".join(f"v{n}" for n in range(5_000)) + "\nGENE0" + ",1" * 5_000 + "\n"
    good = "gene_id,v0\n" + "".join(f"{g},0.5\n" for g in GENES)
    return {
        "formulas.csv": "gene_id,v0\n=cmd|' /C calc'!A0,1\n@SUM(1+1)*cmd,2\n",
        "long_line.csv": "gene_id,v0\n" + "G" * 10_000_000 + ",1\n",
        "wide.csv": wide,
        "quotes.csv": 'gene_id,v0\n"GENE0,1\n' + "GENE1,2\n" * 100,
        "nul.csv": good.replace("GENE3", "GE\0NE3"),
        "zip.csv.gz": gzip.compress(b"gene_id,v0\n" + b"G,0\n" * 300_000, 9),
        "infinite.csv": good.replace("0.5", "inf", 1),
        "words.csv": good.replace("0.5", "__import__('os')", 1),
        "huge_numbers.csv": good.replace("0.5", "1e9999", 1),
        "header.csv": "gene_id,gene_id,v0\nA,B,1\n",
    }


def test_text(trials, tmp_path):
    for name, content in texts().items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        given = ["--settings", json.dumps({"source": "file", "path": str(path)}), "--cache", tmp_path / "cache"]
        outputs = ["--output", tmp_path / "o.parquet", "--sidecar", tmp_path / "o.json"]
        outcome = worker().script("build_gene_prior.py", *given, *outputs, seconds=60)
        count(
            trials,
            f"table, {name}",
            outcome,
            name,
            may_succeed=name in {"formulas.csv", "long_line.csv", "wide.csv", "nul.csv", "zip.csv.gz"},
        )


def test_tables_of_terms_and_proteins(trials, tmp_path):
    residues = trials.number(2_000_000, 100_000_000)
    files = {
        "terms.gmt": "\n\t\t\n\tx\n" + "term\n" + "a\tb\t" + "\t".join(GENES * 2000) + "\n" + "\t" * 100_000 + "\n",
        "markers.csv": "cell_type,gene\n" + ',"\n' * 1000 + "#" * 1000,
        "proteins.fasta": ">GENE0\n" + "M" * residues + "\n",
        "aliases.tsv": "\t\n" * 1000 + "a\tb\tc\td\n" * 10,
        "descriptions.csv": 'symbol,text\nGENE0,"' + "x" * 5_000_000 + '"\n',
        "genes.txt": "GENE0\n" * 100_000 + "\u202e\u0000",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_text(content)
        outcome = worker().call("damaged_readers:table", str(path), str(tmp_path / "o.json"), seconds=60)
        count(trials, name, outcome, name, may_succeed=True)


def test_npz(trials, tmp_path):
    """An array that announces more than there is, and one of objects, which only unpickling would bring to life."""
    path = tmp_path / "prior.npz"
    np.savez(path, gene_id=np.array(GENES), embedding=vectors())
    good = path.read_bytes()
    assert b"(64, 8), " in good and b"'<f4'" in good
    objects = tmp_path / "objects.npz"
    np.savez(objects, gene_id=np.array(GENES), embedding=np.array([[1], "x"], dtype=object))
    for name, content in {
        "huge shape": good.replace(b"(64, 8), ", b"(1<<40,) "),
        "huge numbers": good.replace(b"(64, 8), ", b"(9**15,),"),
        "object type": good.replace(b"'<f4'", b"'|O' "),
        "objects": objects.read_bytes(),
    }.items():
        path.write_bytes(content)
        given = ["--settings", json.dumps({"source": "file", "path": str(path)}), "--cache", tmp_path / "cache"]
        outputs = ["--output", tmp_path / "o.parquet", "--sidecar", tmp_path / "o.json"]
        count(trials, f"npz, {name}", worker().script("build_gene_prior.py", *given, *outputs), "prior.npz")
