"""How much memory a training will need, estimated before its first step.

What a step makes is measured, on a copy of the model: the tensors that live at once while it is run for a few cells,
then for more as long as they surely fit. What operations use inside and give back at once is not seen.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sclamp.config.base import TrainingSettings
from sclamp.core.errors import UserError
from sclamp.data.batches import EVALUATION_ROWS, Batches
from sclamp.data.placement import free_memory
from sclamp.models.base import GradientModel
from sclamp.train.backward import backward, precision
from sclamp.train.shortage import ADVICE, is_out_of_memory, whole_batch_because
from sclamp.types import Batch, Progress

if TYPE_CHECKING:
    from sclamp.train.loop import Training

TIGHT, TOO_MUCH = 0.9, 1.25
"""Shares of the free memory from which a training is warned, and refused: the estimate is no better than that."""
SHARES = (64, 16, 4, 2, 1)
"""A batch is tried cut to such shares of its cells, one after the other."""
SURE = 0.7
"""Share of the free memory up to which the next is tried."""


class _Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within it and live at the same time. peak: most of them."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports its compiler, a second of CPU time in every training

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages([args, kwargs])}
        for storage in _storages(made):
            if storage._cdata not in given:  # else a view, or written in place
                self._note(storage)
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: object) -> None:
            self.live -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


@dataclass(frozen=True)
class Needs:
    """Bytes. model, data: there already. moments: AdamW's. best: a copy of the parameters of the best epoch.

    steps: cells -> what a step on them makes at once, gradients included. validation: likewise, of its largest batch.
    """

    model: int
    data: int
    gradients: int
    moments: int
    best: int
    steps: dict[int, int]
    validation: int

    def step(self, cells: int) -> int:
        """Of a step on so many cells."""
        return max(self.gradients, along(self.steps, cells))

    def total(self, cells: int, parts: int = 1) -> int:
        """Of all that is not there yet, with batches of so many cells done in parts."""
        step, validation = self.step(-(-cells // parts)), self.gradients + self.validation // parts
        return self.moments + self.best + max(step, validation)


def estimate(model: GradientModel, batches: Batches, settings: TrainingSettings, cells: int, free: int) -> Needs:
    """What training will need, with `cells` cells of each batch on this process; `free` bytes are there to try."""
    learned = bytes_of([p for p in model.parameters() if p.requires_grad])
    priors = {id(value): value for name, value in model.named_buffers() if name.startswith("gene_prior_")}
    rows = {split: batches.inputs.rows(split) for split in ("train", "val")}

    def step(count: int) -> int:
        tried.train()
        for parameter in tried.parameters():
            parameter.grad = None
        batch = _batch_of(batches, rows["train"][:count])
        with _Peak() as peak:
            backward(tried, batch, (0, count, count), 0, Progress(0, settings.max_epochs))
        return bytes_of(batch) + peak.peak

    def validation(count: int) -> int:
        tried.eval()
        batch = _batch_of(batches, rows["val"][:count])
        with _Peak() as peak, torch.no_grad(), precision(settings.precision, batches.device):
            tried.loss(batch, Progress(0, settings.max_epochs, validation=True))
        return bytes_of(batch) + peak.peak

    with torch.random.fork_rng(devices=[batches.device] if batches.device.type == "cuda" else []):
        tried = copy.deepcopy(model, dict(priors))  # what a step notes in the model is forgotten with it
        steps = measured(step, min(cells, len(rows["train"])), free, steep=model.loss_needs_whole_batch)
        seen = min(EVALUATION_ROWS, len(rows["val"]))
        validated = along(measured(validation, seen, free, steep=model.loss_needs_whole_batch), seen)
    held = bytes_of([vars(batches), vars(batches._source) if batches._source else {}])
    kept = bytes_of(list(model.learned_state().values()))
    return Needs(bytes_of(model.state_dict()), held, learned, 2 * learned, kept, steps, validated)


def measured(run: Callable[[int], int], cells: int, free: int, steep: bool = False) -> dict[int, int]:
    """Bytes that `run` says it took, for a few cells and then for more, up to `cells` as long as they will fit.

    steep: where it may grow with the square of the cells.
    """
    found: dict[int, int] = {}
    for share in SHARES:
        count = min(cells, max(2, -(-cells // share)))
        if len(found) > 1 and along(found, count) * (count / max(found) if steep else 1) > SURE * free:
            break
        try:
            found |= {} if count in found else {count: run(count)}
        except (RuntimeError, MemoryError) as error:
            if len(found) < 2 or not is_out_of_memory(error):
                raise
            break
    return found


def along(found: dict[int, int], cells: int) -> int:
    """Bytes for so many cells: measured, or on the line through the two nearest measured numbers of cells."""
    if cells in found or len(found) == 1:  # a single one: of all cells there are
        return found.get(cells, max(found.values()))
    (a, low), (b, high) = sorted(sorted(found.items(), key=lambda item: abs(item[0] - cells))[:2])
    return round(low + (high - low) / (b - a) * (cells - a))


def _batch_of(batches: Batches, rows: np.ndarray) -> Batch:
    return next(iter(list(batches.of([rows]))))


def bytes_of(value: Any) -> int:
    """Bytes of the tensors in a value, or in what it holds; of tensors that share their memory one counts."""
    return sum({storage._cdata: storage.nbytes() for storage in _storages(value)}.values())


def _storages(value: Any) -> Iterator[torch.UntypedStorage]:
    if isinstance(value, Tensor):
        yield value.untyped_storage()
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _storages(each)
    elif is_dataclass(value):
        yield from _storages(vars(value))


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still take on the device; on the CPU within the limit of its control group."""
    if device.type != "cuda":
        return free_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def parts_to_begin_with(training: Training) -> int:
    """Estimate, compare with the free memory, and say so: in how many parts batches must be done from the first on.

    1 unless the memory is clearly too small. Errors: it is for any number of parts, or there can be none.
    """
    model, batches, settings = training.model, training.batches, training.settings
    cells = min(-(-settings.batch_size // training.processes.count), len(training.train_rows))
    free = free_bytes(batches.device)
    needs = estimate(model, batches, settings, cells, free)
    if batches.device.type == "cuda":  # where AdamW's moments have been made; the CPU makes them when they are used
        free += needs.moments
    return parts_that_fit(needs, model, settings, cells, free)


def parts_that_fit(needs: Needs, model: GradientModel, settings: TrainingSettings, cells: int, free: int) -> int:
    """The same for given needs and free bytes."""
    total = needs.total(cells)
    numbers = f"{in_words(needs, cells)}; {size(free)} are free"
    if total <= TOO_MUCH * free:
        _say(numbers + (f". This is tight: if it runs out, {ADVICE} help" if total > TIGHT * free else ""))
        return 1
    reason = "`out_of_memory: stop`" if settings.out_of_memory == "stop" else whole_batch_because(model.train())
    parts = 1
    while reason is None and needs.total(cells, parts) > free:
        reason = "a single cell is too much" if parts == cells else None
        parts = min(2 * parts, cells)
    if reason is not None:
        raise UserError(
            f"memory: {numbers}, which is too little. Batches cannot be done in parts: {reason}. What helps: {ADVICE}."
        )
    _say(f"{numbers}, which is too little: batches are done in {parts} parts, with the same result but for rounding")
    return parts


def in_words(needs: Needs, cells: int) -> str:
    """The estimate and its parts."""
    return (
        f"about {size(needs.total(cells))} are needed beside the model ({size(needs.model)}) and the data "
        f"({size(needs.data)}): {size(needs.step(cells))} for a step on {cells} cells, {size(needs.gradients)} of it "
        f"gradients, or {size(needs.gradients + needs.validation)} for validation; {size(needs.moments)} for AdamW's "
        f"moments; {size(needs.best)} for the best parameters"
    )


def size(n_bytes: int) -> str:
    """Bytes in words."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _say(text: str) -> None:
    print(f"memory: {text}", file=sys.stderr)
