"""Damaged files, and the judgement of what a script did with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fault_trials import Trials
from trial_worker import Outcome, worker

KIND = "damaged file"
OTHER_KINDS = {
    "text": b"these are no data\n",
    "an empty zip": b"PK\x05\x06" + bytes(18),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
    "HDF5 by its first bytes": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "Parquet by its first and last bytes": b"PAR1" + bytes(64) + b"PAR1",
    "bytes in no order": bytes(np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8)),
}


@dataclass
class Case:
    """A file, and the command that reads it.

    original: the file. command(damaged, folder) -> script and arguments; the script writes into `folder`. results:
    names of the files that it writes there. read(path) -> something that is equal for equal results. checked: parts of
    the file that hold nothing but checked bytes: "all", or "" where a flipped bit may give another value that nothing
    can tell. named: what a message must name, the file's name if empty. text: a
    format of lines, where a file that was cut looks like a shorter one.
    """

    name: str
    original: Path
    command: Callable[[Path, Path], Sequence[Any]]
    results: tuple[str, ...]
    checked: bool = False
    named: str = ""
    text: bool = False
    function: bool = False
    seconds: float = 30
    cpu: float = 0
    tried: int = 0
    others: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)

    def run(self, damaged: Path, folder: Path) -> Outcome:
        folder.mkdir(exist_ok=True)
        for name in self.results:
            (folder / name).unlink(missing_ok=True)
        what, *arguments = self.command(damaged, folder)
        do = worker().call if self.function else worker().script
        return do(what, *map(str, arguments), seconds=self.seconds, cwd=folder)


def try_damages(case: Case, trials: Trials, tmp_path: Path, cuts: int, flips: int, others: bool = True) -> None:
    """Damage the file of a case in many ways and count what became of it."""
    assert not (outcome := case.run(case.original, tmp_path / "whole")).status, outcome.said
    expected = [read_result(tmp_path / "whole" / name) for name in case.results]
    folder = tmp_path / "damaged"
    folder.mkdir(exist_ok=True)
    target = folder / case.original.name
    for what, content, silent in damages(trials, case.original.read_bytes(), cuts, flips, others):
        target.write_bytes(content)
        outcome = case.run(target, tmp_path / "out")
        case.cpu, case.tried = case.cpu + outcome.seconds, case.tried + 1
        silent |= case.text and what.startswith("cut")
        why = judge(case, outcome, target, tmp_path / "out", expected, silent, what)
        if why:
            trials.lost(KIND, f"{case.name}, {what}", why)
        else:
            trials.survived(KIND, f"{case.name}, {what}")
    case.found["CPU ms"] = round(1000 * case.cpu / max(1, case.tried))
    print(f"{case.name}: " + ", ".join(f"{name} {n}" for name, n in sorted(case.found.items())), *case.others[:5])


def damages(trials: Trials, content: bytes, cuts: int, flips: int, others: bool) -> Iterator[tuple[str, bytes, bool]]:
    """(what was done, the damaged content, whether a format without checksums may not notice)."""
    yield "of no bytes", b"", False
    if others:
        yield from ((f"replaced by {kind}", data, False) for kind, data in OTHER_KINDS.items())
    for _ in range(cuts):
        at = int(trials.random.integers(1, max(2, len(content))))
        yield f"cut after {at} of {len(content)} bytes", content[:at], False
    for number in range(flips):
        # Headers and the like are short beside the data: half of the strikes go to the first and last kilobytes.
        if number % 2 == 0 or len(content) < 4096:
            at = int(trials.random.integers(len(content)))
        else:
            end = int(trials.random.integers(4096))
            at = end if end < 2048 else len(content) - (end - 2048) - 1
        bit = int(trials.random.integers(8))
        flipped = bytearray(content)
        flipped[at] ^= 1 << bit
        yield f"bit {bit} of byte {at} flipped", bytes(flipped), True


def judge(
    case: Case, outcome: Outcome, target: Path, folder: Path, expected: list[Any], silent: bool, what: str
) -> str:
    """Why the trial is lost; empty when it is not."""
    if outcome.death:
        case.found["lost"] += 1
        return outcome.death
    if outcome.status:
        case.found["refused"] += 1
        named = case.named or target.name
        if outcome.status != 1 or "problem" not in outcome.said:
            return f"status {outcome.status} without a message: {outcome.said[-600:]}"
        return "" if named in outcome.said else f"the message does not name {named}: {outcome.said[-600:]}"
    same = all(equal(read_result(folder / n), e) for n, e in zip(case.results, expected, strict=True))
    if same:
        case.found["the same result"] += 1
        return ""
    case.found["another result"] += 1
    case.others.append(what)
    return "" if silent and not case.checked else "another result without a word"


def read_result(path: Path) -> Any:
    """The content of a result, without its provenance (which names the digest of the damaged input)."""
    if path.suffix == ".h5ad":
        return _read_h5ad(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path).to_pydict()
    if path.suffix == ".pt":
        import torch

        content = torch.load(path, weights_only=True)
        return {k: v for k, v in content.items() if k != "provenance"}
    if path.suffix == ".json":
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            value.pop("provenance", None)
        return value
    return path.read_bytes()


def _read_h5ad(path: Path) -> dict[str, Any]:
    import anndata

    data = anndata.read_h5ad(path)
    spec = json.loads(data.uns["sclamp"])["spec"]
    tables = {f"{k}.{c}": list(t[c].astype(str)) for k, t in (("obs", data.obs), ("var", data.var)) for c in t}
    arrays = {name: np.asarray(value) for name, value in data.obsm.items()}
    names = {"obs": list(data.obs.index), "var": list(data.var.index)}
    return {"spec": spec, "X": data.X.toarray(), **tables, **arrays, **names}


def equal(a: Any, b: Any) -> bool:
    """Whether two results are the same, NaN equal to NaN."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "shape"):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    return bool(a == b or (a != a and b != b))
