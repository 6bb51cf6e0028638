"""Pickles and checkpoints that would run something, or take all time or memory: refused by a message."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from small_files import GENES, vectors, write_prior
from trial_worker import worker

pytestmark = pytest.mark.xdist_group("trial worker")
KIND = "hostile file"


class Runs:
    """Runs a function of a module when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def programs(canary: str) -> dict[str, bytes]:
    """Pickles that would make a file, in as many ways as there are to call something."""
    command = f"touch '{canary}'".encode()
    text = canary.encode()
    dumped = {
        f"{name}, protocol {protocol}": pickle.dumps(value, protocol=protocol)
        for protocol in range(6)
        for name, value in {
            "os.system": Runs(os.system, f"touch '{canary}'"),
            "eval": {"GENE0": Runs(eval, f"open({canary!r}, 'w')")},
            "exec in a list of vectors": {"GENE0": [1.0, Runs(exec, f"open({canary!r}, 'w')")]},
            "os.mkdir": {"GENE0": vectors()[0], "GENE1": Runs(os.mkdir, canary)},
        }.items()
    }
    by_hand = {
        "GLOBAL": b"cos\nsystem\n(V" + command + b"\ntR.",
        "INST": b"(V" + command + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nV" + command + b"\no.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command + b"\x85R.",
        "NEWOBJ": b"\x80\x02cos\nsystem\nV" + command + b"\n\x85\x81.",
        "extension registry": b"\x80\x02\x82\x01)R.",
        "persistent id": b"P" + text + b"\n.",
        "binary persistent id": b"V" + text + b"\nQ.",
        "BUILD on a function that is allowed": b"c_codecs\nencode\n(N}V__code__\nV" + text + b"\nstb.",
        "BUILD on a dict class": b"ccollections\nOrderedDict\n)R(N}Vkeys\nI1\nstb.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__reduce__\x93)R.",
        "numpy.load": b"cnumpy\nload\n(V" + text + b"\ntR.",
        "copyreg": b"ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        "importlib": b"cimportlib\nimport_module\n(Vos\ntR.",
    }
    return dumped | by_hand


def numpy_tricks() -> dict[str, bytes]:
    """Pickled arrays that say of themselves what would make numpy follow numbers as pointers, or reach outside."""
    array = pickle.dumps({"GENE0": vectors()[0]}, protocol=2)
    assert b"K\x00tb" in array or b"tq" in array
    flags = array.replace(b"K\x00t", b"K?t", 1)
    strange = {
        "flags of objects": flags,
        "object type": array.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00O8"),
        "text type": array.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00U4"),
        "structured type": array.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00V8"),
        "shape beyond the bytes": array.replace(b"K\x08\x85", b"J\xff\xff\xff\x7f\x85"),
        "negative shape": array.replace(b"K\x08\x85", b"J\xfe\xff\xff\xff\x85"),
        "array of an array": pickle.dumps(np.array([vectors()[0], None], dtype=object)),
    }
    return {name: content for name, content in strange.items() if content != array}


def bombs() -> dict[str, bytes]:
    """Small files that announce or unfold to much."""
    laughs = b"]q\x00" + b"".join(b"]q" + bytes([n + 1]) + b"(" + (b"h" + bytes([n])) * 10 + b"e" for n in range(60))
    return {
        "nested lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "billion laughs": b"\x80\x02" + laughs + b".",
        "memo far away": b"\x80\x02Nr\x00\x00\x00\x60.",
        "memo at the end": b"\x80\x02Nr\xff\xff\xff\xff.",
        "bytes announced": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        "text announced": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        "array of bytes announced": b"\x80\x05\x96" + struct.pack("<Q", 1 << 45) + b"x.",
        "frame announced": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
        "long number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b"1.",
        "negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b".",
        "number of digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "many marks": b"\x80\x02" + b"(" * 2_000_000 + b".",
        "a set of itself": b"\x80\x04\x8f\x94(h\x00\x90.",
        "a dict that is its key": b"\x80\x02}q\x00(h\x00Nu.",
    }


def as_zip(pickled: bytes, **more: bytes) -> bytes:
    """A checkpoint of torch with this pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"data.pkl": pickled, "version": b"3\n", "byteorder": b"little", **more}.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def zip_tricks() -> dict[str, bytes]:
    """Zip files that are larger inside than outside, or reach outside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300_000_000))
    outside = io.BytesIO()
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../../../tmp/sclamp_outside", b"x")
        archive.writestr("/etc/sclamp_outside", b"x")
    return {"zip bomb": buffer.getvalue(), "paths outside": outside.getvalue(), "no pickle": as_zip(b"")}


def judge(trials, what, outcome, path, canary):
    refused = outcome.status == 1 and path.name in outcome.said and not outcome.death
    why = outcome.death or ("" if refused else f"status {outcome.status}: {outcome.said[-300:]}")
    if canary.exists():
        canary.unlink()
        why = "it ran what the file says"
    if why:
        trials.lost(KIND, what, why)
    else:
        trials.survived(KIND, what)


def build(path, settings, out):
    given = ["--settings", json.dumps({**settings, "source": "file", "path": str(path)}), "--cache", out / "cache"]
    outputs = ["--output", out / "o.parquet", "--sidecar", out / "o.json"]
    return worker().script("build_gene_prior.py", *given, *outputs, seconds=20)


def test_pickles(trials, tmp_path):
    canary = tmp_path / "canary"
    every = programs(str(canary)) | numpy_tricks() | bombs()
    for name, content in every.items():
        path = tmp_path / "prior.pkl"
        path.write_bytes(content)
        outcome = build(path, {}, tmp_path)
        if name in numpy_tricks() and outcome.status == 0 and not outcome.death:
            trials.survived(KIND, f"pickle: {name}: read, without what it says of itself")
        else:
            judge(trials, f"pickle: {name}", outcome, path, canary)


@pytest.mark.parametrize("ending", ["pt", "model"])
def test_checkpoints(trials, tmp_path, ending):
    canary = tmp_path / "canary"
    every = {f"zip, {name}": as_zip(content) for name, content in programs(str(canary)).items()} | zip_tricks()
    every |= {f"zip, {name}": as_zip(content) for name, content in bombs().items()}
    if ending == "pt":
        every |= programs(str(canary)) | bombs()
    chosen = sorted(every)
    trials.random.shuffle(chosen)
    _, settings = write_prior(tmp_path / "good.pt")
    for name in chosen[: trials.number(25, len(chosen))]:
        path = tmp_path / "hostile.pt"
        path.write_bytes(every[name])
        if ending == "pt":
            outcome = build(path, {k: v for k, v in settings.items() if k in {"tensor", "vocabulary"}}, tmp_path)
        else:
            arguments = ["--model", path, "--data", tmp_path / "none.h5ad", "--output", tmp_path / "o.parquet"]
            outcome = worker().script("embed_cells.py", *arguments, seconds=20)
        judge(trials, f"{ending}: {name}", outcome, path, canary)


def test_random_changes_of_pickles(trials, tmp_path):
    """Pickles of vectors with random bytes changed, moved and repeated: a message, or vectors that are finite."""
    good = [pickle.dumps(dict(zip(GENES[:6], vectors()[:6], strict=True)), protocol=p) for p in range(6)]
    good += [
        pickle.dumps({g: v.tolist() for g, v in zip(GENES[:6], vectors(), strict=False)}, protocol=p) for p in (0, 5)
    ]
    canary, path, random = tmp_path / "canary", tmp_path / "prior.pkl", trials.random
    for number in range(trials.number(30, 1500)):
        content = bytearray(good[number % len(good)])
        for _ in range(int(random.integers(1, 12))):
            at, to = (int(n) for n in random.integers(0, len(content), 2))
            length = int(random.integers(1, 40))
            change = random.integers(3)
            if change == 0:
                content[at] = int(random.integers(256))
            elif change == 1:
                content[at:at] = content[to : to + length]
            elif len(content) > 100:
                del content[at : at + length]
        path.write_bytes(bytes(content))
        outcome = build(path, {}, tmp_path)
        if outcome.status == 0 and not outcome.death:
            trials.survived(KIND, f"changed pickle {number}: read")
        else:
            judge(trials, f"changed pickle {number}", outcome, path, canary)
